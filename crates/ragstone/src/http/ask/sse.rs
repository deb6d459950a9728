//! An answer as server-sent events, begun or resumed.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use ragstone_core::access::Principal;
use ragstone_core::ask::{Answer, AnswerEvent, Failed};
use ragstone_core::failure_log::TARGET;
use ragstone_core::id::TraceId;
use serde_json::{Value, json};

use super::replay::{Found, Reading};
use super::{AskBody, events};
use crate::http::App;
use crate::http::audit::Trail;
use crate::http::auth::Identity;
use crate::http::body::{NoticeBody, PassageBody};
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
    let events = futures::stream::once(async { first }).chain(events);
    let events = events.inspect(move |event| warn_of_failure(trace_id, event));
    let resume_for = resumable.then_some(app.settings.resume_for);
    let (events, shutdown) = (events.map(told).boxed(), app.shutdown.clone());
    let reading = app
        .replays
        .begin(trace_id, identity.principal, events, resume_for, shutdown);
    Ok(answer(&app, reading, 0, place))
}

/// The answer began, so its request counts as answered: the failure has a log line of its own.
fn warn_of_failure(trace_id: TraceId, event: &AnswerEvent) {
    if let AnswerEvent::Failed { code, .. } = event {
        tracing::warn!(target: TARGET, %trace_id, code, "answer failed");
    }
}

/// Goes on behind the event `last`.
pub(super) fn resume(app: &App, principal: &Principal, last: &str) -> Result<Response, Problem> {
    let unknown = || {
        Problem::new(
            Code::StreamUnknown,
            "there is no such stream, or not for this caller",
        )
    };
    let (trace_id, n) = last.split_once(':').ok_or_else(unknown)?;
    let (trace_id, n) = (
        trace_id.parse().map_err(|_| unknown())?,
        n.parse().map_err(|_| unknown())?,
    );
    match app.replays.find(trace_id, principal, n) {
        Found::Rest(reading) => Ok(answer(app, reading, n, app.limits.stream(principal)?)),
        Found::Nothing => Ok(StatusCode::NO_CONTENT.into_response()),
        Found::Unknown => Err(unknown()),
    }
}

/// The place is the reader's, and free again when it leaves.
fn answer(app: &App, reading: Reading, from: usize, place: Place) -> Response {
    let held = move |frame| {
        let _ = &place;
        frame
    };
    response(reading.frames(from).map(held), app.settings.heartbeat)
}

/// The name and the data of an event.
fn told(event: AnswerEvent) -> (&'static str, Value) {
    match event {
        AnswerEvent::Sources { passages, notices } => {
            let passages: Vec<_> = passages
                .iter()
                .map(|passage| PassageBody::from(&**passage))
                .collect();
            let notices: Vec<_> = notices
                .into_iter()
                .map(|notice| NoticeBody {
                    code: notice.code,
                    detail: notice.detail,
                })
                .collect();
            ("sources", json!({"passages": passages, "notices": notices}))
        }
        AnswerEvent::Delta { text } => ("delta", json!({ "text": text })),
        AnswerEvent::Citation(citation) => ("citation", json!(citation)),
        AnswerEvent::Done(answer) => ("done", without_text(&answer)),
        AnswerEvent::Failed { code, detail } => ("failed", json!({"code": code, "detail": detail})),
    }
}

/// The JSON answer without the text, which the deltas were.
fn without_text(answer: &Answer) -> Value {
    let mut done = json!(answer);
    if let Some(fields) = done.as_object_mut() {
        fields.remove("answer");
    }
    done
}
