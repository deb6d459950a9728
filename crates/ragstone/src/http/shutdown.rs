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

use super::Api;
use super::problem::{Code, Problem};

/// When another process may answer.
const COME_BACK: Duration = Duration::from_secs(5);
/// The one path that is answered to the end: the process is alive.
const ALIVE: &str = "/healthz";
/// What readers of streams and senders of requests are told.
const DETAIL: &str = "the server is shutting down";

/// The two steps of the end; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    begun: CancellationToken,
    over: CancellationToken,
}

impl Shutdown {
    /// Nothing more is begun, and what may have no end of its own ends.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// What is still worked on has to be answered.
    pub fn end(&self) {
        self.over.cancel();
    }

    /// Ends once it has begun.
    pub(super) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Ends once what is still worked on has to be answered.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// The code and the detail of the last event of a stream.
    pub(super) fn failure() -> (&'static str, &'static str) {
        (Code::ShuttingDown.as_str(), DETAIL)
    }

    /// The data of that event.
    pub(super) fn last_event() -> Value {
        let (code, detail) = Self::failure();
        json!({"code": code, "detail": detail})
    }
}

fn refusal() -> Response {
    let problem = Problem::new(Code::ShuttingDown, DETAIL).after(Some(COME_BACK));
    let mut response = problem.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Refuses requests that come after the end has begun, and answers those that are not done when it is over.
pub(super) async fn refuse_at_end(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if request.uri().path() == ALIVE {
        return next.run(request).await;
    }
    if api.shutdown.begun.is_cancelled() {
        return refusal();
    }
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = api.shutdown.over.cancelled() => refusal(),
    }
}

#[cfg(test)]
mod tests;
