//! Middleware of every request: id, log and metrics, panics, security headers, concurrency limit, timeout, and problems
//! for all errors.

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

/// Response header with the id of the request, which the log shows as `trace_id`.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Content security policy of responses that set none: nothing may be loaded.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// `Retry-After` of responses to requests for which there is no slot.
pub(super) const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Gives the request its id; counts and logs its response.
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
    // A failing probe shows the state of a dependency, which is logged when it changes.
    if (status.is_client_error() || status.is_server_error()) && !probed {
        log_failure(&response, trace_id, &method, &route);
    }
    let id = HeaderValue::from_str(&trace_id.to_string()).expect("an id is letters and digits");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Writes the one log line of a failed request.
fn log_failure(response: &Response, trace_id: TraceId, method: &Method, route: &str) {
    let status = response.status();
    let note = response.extensions().get::<FailureNote>();
    let code = note.map_or_else(|| Code::from_status(status).as_str(), |note| note.code.as_str());
    let cause = note.and_then(|note| note.cause.as_deref());
    let status = status.as_u16();
    tracing::warn!(target: TARGET, %trace_id, code, status, %method, route, cause, "request failed");
}

/// The method as a metrics label. Callers can invent methods, so unknown ones become `other`.
pub(super) fn method_label(method: &Method) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
}

/// Turns a panic of a handler into a 500, so that other requests are not affected.
pub(super) async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => ApiProblem::new(Code::Internal, "the handler of this request broke").into_response(),
    }
}

/// Turns every response that is neither 2xx nor a problem yet into a problem, and keeps the relevant headers.
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

/// Adds headers that forbid browsers to guess media types, to frame and to cache.
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

/// Limits the requests in progress: in total, per caller and per client address. A slot is held until the response body
/// is sent or dropped; health checks need none.
pub(super) async fn limit_concurrency(State(app): State<Arc<RouterState>>, request: Request, next: Next) -> Response {
    if auth::is_open_path(request.uri().path()) {
        return next.run(request).await;
    }
    let holders = shares::slot_holders(&app, request.extensions(), request.headers());
    let place = match ConcurrencyLimit::acquire_slot(&app.concurrency_limit, holders) {
        Ok(place) => place,
        Err(problem) => {
            // A client that is refused while it sends would otherwise see a reset instead of the response.
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

/// Limits the time to the response head; for routes that do not stream.
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
