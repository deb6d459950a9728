//! Shutdown in two steps, and what requests in progress get.
//!
//! Invariant: after the first step only `/healthz` is served and progress streams of jobs end with one `failed` event.
//! Answers continue, streamed or not; those still running at the second step end with 503 or a `failed` event.

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

/// `Retry-After` of refused requests: when another process may be ready.
const SHUTDOWN_RETRY_AFTER: Duration = Duration::from_secs(5);
/// The only path served until the end, because the process is alive.
const HEALTH_PATH: &str = "/healthz";
/// Detail of the problem and of the last stream event.
const SHUTDOWN_DETAIL: &str = "the server is shutting down";

/// Signals the two steps of a shutdown; clones share their state.
#[derive(Debug, Clone, Default)]
pub struct ShutdownSignal {
    begun: CancellationToken,
    over: CancellationToken,
}

impl ShutdownSignal {
    /// First step: no new requests; streams that might never end are ended.
    pub fn begin_shutdown(&self) {
        self.begun.cancel();
    }

    /// Second step: requests in progress get their final response now.
    pub fn end_requests(&self) {
        self.over.cancel();
    }

    /// Returns once the first step has begun.
    pub(super) async fn wait_begun(&self) {
        self.begun.cancelled().await;
    }

    /// Returns once the second step has begun.
    pub(super) async fn wait_over(&self) {
        self.over.cancelled().await;
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Code and detail of the last event of a stream.
    pub(super) fn failure_parts() -> (&'static str, &'static str) {
        (Code::ShuttingDown.as_str(), SHUTDOWN_DETAIL)
    }

    /// The same as the JSON data of the event.
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

/// Middleware that refuses requests after the first step, and those still running at the second.
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
