//! An answer as server-sent events, begun or resumed.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use ragstone_core::access::Principal;
use ragstone_core::ask::{AnswerEvent, Failed};
use ragstone_core::failure_log::TARGET;
use ragstone_core::id::TraceId;

use super::replay::{Found, NewStream, Reading};
use super::{AskBody, events};
use crate::http::App;
use crate::http::audit::Trail;
use crate::http::auth::Identity;
use crate::http::extract::header;
use crate::http::limits::Place;
use crate::http::problem::{Code, Problem};
use crate::http::sse::response;

/// The event after which a stream is to be resumed.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    header(headers, &HeaderName::from_static("last-event-id")).filter(|id| !id.is_empty())
}

/// Asks, and answers with a stream once there is a first event; what fails before it is a problem.
pub(super) async fn begin(
    app: Arc<App>,
    identity: Identity,
    body: AskBody,
    trace_id: TraceId,
    trail: Trail,
) -> Result<Response, Problem> {
    let resumable = body.resumable;
    let place = app.limits.stream(&identity.principal)?;
    let mut events = events(&app, &identity, body, trace_id, trail).await?;
    let first = match events.next().await {
        Some(AnswerEvent::Failed { code, detail }) => return Err(Failed { code, detail }.into()),
        Some(first) => first,
        None => return Err(Problem::new(Code::Broken, "the answer ended before it began")),
    };
    let events = futures::stream::once(std::future::ready(first)).chain(events);
    let events = events.inspect(move |event| warn_of_failure(trace_id, event));
    let reading = app.replays.begin(NewStream {
        trace_id,
        principal: identity.principal,
        answer: events.boxed(),
        resume_for: resumable.then_some(app.settings.resume_for),
        shutdown: app.shutdown.clone(),
    });
    Ok(response_of(&app, reading, place))
}

/// The answer began, so its request counts as answered: the failure has a log line of its own.
fn warn_of_failure(trace_id: TraceId, event: &AnswerEvent) {
    if let AnswerEvent::Failed { code, .. } = event {
        tracing::warn!(target: TARGET, %trace_id, code, "answer failed");
    }
}

/// Goes on behind the event `last`.
pub(super) fn resume(app: &App, principal: &Principal, last: &str) -> Result<Response, Problem> {
    let unknown = || Problem::new(Code::StreamUnknown, "there is no such stream, or not for this caller");
    let (trace_id, n) = last.split_once(':').ok_or_else(unknown)?;
    let (trace_id, n) = (
        trace_id.parse().map_err(|_| unknown())?,
        n.parse().map_err(|_| unknown())?,
    );
    match app.replays.find(trace_id, principal, n) {
        Found::Rest(reading) => Ok(response_of(app, reading, app.limits.stream(principal)?)),
        Found::Nothing => Ok(StatusCode::NO_CONTENT.into_response()),
        Found::Unknown => Err(unknown()),
    }
}

/// The place is the reader's, and free again when it leaves.
fn response_of(app: &App, reading: Reading, place: Place) -> Response {
    let held = move |frames| {
        let _ = &place;
        frames
    };
    response(reading.map(held), app.settings.heartbeat)
}
