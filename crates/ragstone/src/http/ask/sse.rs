//! An answer as server-sent events: started or resumed.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use ragstone_core::access::Principal;
use ragstone_core::ask::{AnswerError, AnswerEvent};
use ragstone_core::failure_log::TARGET;
use ragstone_core::id::TraceId;

use super::replay::{AnswerStreamReader, NewStream, ResumeOutcome};
use super::{AskBody, answer_events};
use crate::http::RouterState;
use crate::http::audit::AuditRecord;
use crate::http::auth::CallerIdentity;
use crate::http::extract::header_text;
use crate::http::limits::StreamSlot;
use crate::http::problem::{ApiProblem, Code};
use crate::http::sse::sse_response;

/// The value of `Last-Event-ID`: the id of the last event that the client received.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    header_text(headers, &HeaderName::from_static("last-event-id")).filter(|id| !id.is_empty())
}

/// Starts an answer and waits for its first event. A failure before that event is returned as a problem with its own
/// status, because the response head has not been sent.
pub(super) async fn start_answer_stream(
    app: Arc<RouterState>,
    identity: CallerIdentity,
    body: AskBody,
    trace_id: TraceId,
    trail: AuditRecord,
) -> Result<Response, ApiProblem> {
    let resumable = body.resumable;
    let place = app.limits.reserve_stream(&identity.principal)?;
    let mut events = answer_events(&app, &identity, body, trace_id, trail).await?;
    let first = match events.next().await {
        Some(AnswerEvent::Failed { code, detail }) => return Err(AnswerError { code, detail }.into()),
        Some(first) => first,
        None => return Err(ApiProblem::new(Code::Broken, "the answer ended before it began")),
    };
    let events = futures::stream::once(std::future::ready(first)).chain(events);
    let events = events.inspect(move |event| log_failure(trace_id, event));
    let reading = app.replays.begin_stream(NewStream {
        trace_id,
        principal: identity.principal,
        answer: events.boxed(),
        resume_for: resumable.then_some(app.settings.resume_for),
        shutdown: app.shutdown.clone(),
    });
    Ok(stream_response(&app, reading, place))
}

/// Logs a failure after the first event. The request itself counts as answered (200), so this needs a log line of its
/// own.
fn log_failure(trace_id: TraceId, event: &AnswerEvent) {
    if let AnswerEvent::Failed { code, .. } = event {
        tracing::warn!(target: TARGET, %trace_id, code, "answer failed");
    }
}

/// Continues the stream after the event id `last`, which has the form `<trace id>:<n>`.
pub(super) fn resume_stream(app: &RouterState, principal: &Principal, last: &str) -> Result<Response, ApiProblem> {
    let unknown = || ApiProblem::new(Code::StreamUnknown, "there is no such stream, or not for this caller");
    let (trace_id, n) = last.split_once(':').ok_or_else(unknown)?;
    let (trace_id, n) = (
        trace_id.parse().map_err(|_| unknown())?,
        n.parse().map_err(|_| unknown())?,
    );
    match app.replays.find_stream(trace_id, principal, n) {
        ResumeOutcome::Remaining(reading) => Ok(stream_response(app, reading, app.limits.reserve_stream(principal)?)),
        ResumeOutcome::Delivered => Ok(StatusCode::NO_CONTENT.into_response()),
        ResumeOutcome::Unknown => Err(unknown()),
    }
}

/// The response that reads a stream. It holds the stream slot until the client disconnects or the stream ends.
fn stream_response(app: &RouterState, reading: AnswerStreamReader, place: StreamSlot) -> Response {
    let held = move |frames| {
        let _ = &place;
        frames
    };
    sse_response(reading.map(held), app.settings.heartbeat)
}
