//! What every request passes: an id, a limit of time, headers, counters, and a problem for whatever goes wrong.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http_body_util::BodyExt;
use ragstone_core::failure_log::TARGET;
use ragstone_core::id::TraceId;
use tracing::Instrument;

use super::limits::shares::{self, ConcurrencyLimit};
use super::problem::{ApiProblem, Code, FailureNote, PROBLEM_JSON};
use super::{ApiServices, RouterState, auth, limits, metrics};

/// Names a request in answers and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What pages of this server may load, unless they say otherwise: nothing.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// When one request more may find a place.
pub(super) const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Gives the request its id, and counts and logs its answer.
pub(super) async fn observe_request(State(api): State<Arc<ApiServices>>, mut request: Request, next: Next) -> Response {
    let trace_id = TraceId((api.new_id)());
    request.extensions_mut().insert(trace_id);
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let started = tokio::time::Instant::now();
    let span = tracing::info_span!("request", %trace_id, %method, route);
    let probed = auth::is_open_path(request.uri().path());
    let mut response = next.run(request).instrument(span).await;
    let (status, elapsed) = (response.status(), started.elapsed());
    metrics::count_request(method_label(&method), &route, status.as_u16(), elapsed);
    tracing::debug!(%trace_id, %method, route, status = status.as_u16(), ?elapsed, "answered");
    // A probe that fails is the state of a store, which is logged where it changes.
    if (status.is_client_error() || status.is_server_error()) && !probed {
        log_failure(&response, trace_id, &method, &route);
    }
    let id = HeaderValue::from_str(&trace_id.to_string()).expect("an id is letters and digits");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The one line that a failed request leaves.
fn log_failure(response: &Response, trace_id: TraceId, method: &Method, route: &str) {
    let status = response.status();
    let note = response.extensions().get::<FailureNote>();
    let code = note.map_or_else(|| Code::from_status(status).as_str(), |note| note.code.as_str());
    let cause = note.and_then(|note| note.cause.as_deref());
    let status = status.as_u16();
    tracing::warn!(target: TARGET, %trace_id, code, status, %method, route, cause, "request failed");
}

/// Callers may invent methods; metrics have a label for those that exist.
pub(super) fn method_label(method: &Method) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
}

/// A handler that panics answers 500 and takes nothing else along.
pub(super) async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => ApiProblem::new(Code::Internal, "the handler of this request broke").into_response(),
    }
}

/// Makes a problem of every answer that is not 2xx and none yet, keeping its headers.
pub(super) async fn complete_problem(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    if status.is_success() || status.is_informational() || kind.is_some_and(|kind| kind == PROBLEM_JSON) {
        return response;
    }
    let code = Code::from_status(status);
    let mut problem = ApiProblem::new(code, code.title().to_lowercase()).into_response();
    *problem.status_mut() = if status.is_redirection() {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        status
    };
    for kept in [
        header::ALLOW,
        header::RETRY_AFTER,
        limits::RATE_LIMIT,
        limits::RATE_REMAINING,
        limits::RATE_RESET,
    ] {
        if let Some(value) = response.headers().get(&kept) {
            problem.headers_mut().insert(kept, value.clone());
        }
    }
    problem
}

/// Headers that keep browsers from guessing, framing and remembering.
pub(super) async fn add_security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Bounds the requests that are worked on at once, of all, of one caller and of one address. A place is held until the
/// answer's body is sent, or nobody reads it; health needs none.
pub(super) async fn limit_concurrency(State(app): State<Arc<RouterState>>, request: Request, next: Next) -> Response {
    if auth::is_open_path(request.uri().path()) {
        return next.run(request).await;
    }
    let holders = shares::slot_holders(&app, request.extensions(), request.headers());
    let place = match ConcurrencyLimit::acquire_slot(&app.concurrency_limit, holders) {
        Ok(place) => place,
        Err(problem) => {
            // Who is refused while it sends would see a reset in place of the answer.
            let (parts, body) = request.into_parts();
            limits::linger::drain_body(&parts.headers, body);
            return problem.into_response();
        }
    };
    let held = move |error| {
        let _ = &place;
        error
    };
    next.run(request).await.map(|body| Body::new(body.map_err(held)))
}

/// Bounds the time to the head of an answer; for routes that stream nothing.
pub(super) async fn enforce_timeout(State(app): State<Arc<RouterState>>, request: Request, next: Next) -> Response {
    let limit = app.settings.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("there was no answer within {} s", limit.as_secs_f64());
            ApiProblem::new(Code::Timeout, detail).into_response()
        }
    }
}
