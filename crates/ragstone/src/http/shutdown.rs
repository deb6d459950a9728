//! The end of the process: told to whoever is being answered.
//!
//! Invariant: once it has begun, no request but `/healthz` is begun any more, and the progress of jobs ends with one
//! `failed` event. Answers go on, streamed or not; those that are not done when it is over are ended, each with a word.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::ApiServices;
use super::problem::{ApiProblem, Code};

/// When another process may answer.
const SHUTDOWN_RETRY_AFTER: Duration = Duration::from_secs(5);
/// The one path that is answered to the end: the process is alive.
const HEALTH_PATH: &str = "/healthz";
/// What readers of streams and senders of requests are told.
const SHUTDOWN_DETAIL: &str = "the server is shutting down";

/// The two steps of the end; clones share them.
#[derive(Debug, Clone, Default)]
pub struct ShutdownSignal {
    begun: CancellationToken,
    over: CancellationToken,
}

impl ShutdownSignal {
    /// Nothing more is begun, and what may have no end of its own ends.
    pub fn begin_shutdown(&self) {
        self.begun.cancel();
    }

    /// What is still worked on has to be answered.
    pub fn end_requests(&self) {
        self.over.cancel();
    }

    /// Ends once it has begun.
    pub(super) async fn wait_begun(&self) {
        self.begun.cancelled().await;
    }

    /// Ends once what is still worked on has to be answered.
    pub(super) async fn wait_over(&self) {
        self.over.cancelled().await;
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// The code and the detail of the last event of a stream.
    pub(super) fn failure_parts() -> (&'static str, &'static str) {
        (Code::ShuttingDown.as_str(), SHUTDOWN_DETAIL)
    }

    /// The data of that event.
    pub(super) fn last_event() -> Value {
        let (code, detail) = Self::failure_parts();
        json!({"code": code, "detail": detail})
    }
}

fn refusal_response() -> Response {
    let problem = ApiProblem::new(Code::ShuttingDown, SHUTDOWN_DETAIL).with_retry_after(Some(SHUTDOWN_RETRY_AFTER));
    let mut response = problem.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Refuses requests that come after the end has begun, and answers those that are not done when it is over.
pub(super) async fn refuse_during_shutdown(
    State(api): State<Arc<ApiServices>>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == HEALTH_PATH {
        return next.run(request).await;
    }
    if api.shutdown.begun.is_cancelled() {
        return refusal_response();
    }
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = api.shutdown.over.cancelled() => refusal_response(),
    }
}

#[cfg(test)]
mod tests;
