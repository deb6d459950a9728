//! `GET /api/v1/jobs/{id}/events`: streams the progress of a job until it ends.

use std::sync::Arc;

use async_stream::stream;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use ragstone_core::access::Scope;
use ragstone_core::document::{Job, format_timestamp};
use ragstone_core::id::JobId;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::http::RouterState;
use crate::http::auth::{CallerIdentity, Credential};
use crate::http::body::JobBody;
use crate::http::extract::{Path, header_text, parse_id};
use crate::http::problem::{ApiProblem, Code};
use crate::http::{ShutdownSignal, sse};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::TooManyStreams, Code::CatalogueUnavailable];

/// Streams the progress of a job as server-sent events.
///
/// `progress` carries the job at each change, `done` the job at its end. `failed {code, detail}` is sent if the
/// caller's key or token ends before that, or if the server shuts down. A reconnect after the end is answered with 204,
/// so that an `EventSource` stops.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "jobs",
    params(("id" = Uuid, Path), ("Last-Event-ID" = Option<String>, Header), ("ticket" = Option<String>, Query)),
    responses((status = 200, description = "The events, until the end.", body = String, content_type = "text/event-stream"), (status = 204, description = "Everything was sent already.")))]
pub(in crate::http) async fn stream_job_events(
    State(app): State<Arc<RouterState>>,
    CallerIdentity {
        principal, credential, ..
    }: CallerIdentity,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    let (scope, job) = (principal.scope(), parse_id("job", &job)?);
    let listener = app.job_events.subscribe();
    let first = app
        .catalogue
        .get_job(&scope, job)
        .await?
        .ok_or_else(|| ApiProblem::not_found("job"))?;
    let last = header_text(&headers, &HeaderName::from_static("last-event-id")).map(str::to_owned);
    if first.state.is_final() && last.as_deref() == Some(&event_id(&first, true)) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (heartbeat, place) = (app.settings.heartbeat, app.limits.reserve_stream(&principal)?);
    let held = move |frame| {
        let _ = &place;
        frame
    };
    let reader = JobWatcher { scope, credential };
    let frames = progress_frames(app, reader, first, last, listener).map(held);
    Ok(sse::sse_response(frames, heartbeat))
}

/// The access rights and the credential of the client that watches a job.
struct JobWatcher {
    scope: Scope,
    credential: Credential,
}

/// Event id for a state of the job, so that a reconnecting client does not get the same state again.
fn event_id(job: &Job, end: bool) -> String {
    let end = if end { "/end" } else { "" };
    format!(
        "{}:{}/{}/{}{end}",
        job.id,
        format_timestamp(job.updated_at),
        job.attempts,
        job.done
    )
}

fn progress_frames(
    app: Arc<RouterState>,
    reader: JobWatcher,
    first: Job,
    mut told: Option<String>,
    mut listener: tokio::sync::broadcast::Receiver<JobId>,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream! {
        let mut job = first;
        loop {
            let id = event_id(&job, false);
            if told.as_ref() != Some(&id) {
                yield sse::event_frame("progress", &id, &JobBody::from(job.clone()));
                told = Some(id);
            }
            if job.state.is_final() {
                yield sse::event_frame("done", &event_id(&job, true), &JobBody::from(job));
                break;
            }
            let is_over = tokio::select! {
                biased;
                () = app.shutdown.wait_begun() => true,
                () = wait_for_change(&app, &mut listener, job.id) => false,
            };
            if is_over {
                yield sse::event_frame("failed", &event_id(&job, false), &ShutdownSignal::last_event());
                break;
            }
            if let Err(problem) = reader.credential.check_live(&app.keys).await {
                let ended = json!({ "code": problem.code.as_str(), "detail": problem.detail });
                yield sse::event_frame("failed", &event_id(&job, false), &ended);
                break;
            }
            match app.catalogue.get_job(&reader.scope, job.id).await {
                Ok(Some(next)) => job = next,
                // Purging a document deletes its jobs as well; the client gets 404 when it asks again.
                Ok(None) => break,
                Err(error) => tracing::warn!(job = %job.id, %error, "progress not known"),
            }
        }
    }
}

/// Waits until a change of the job is reported, at most `settings.job_poll`.
async fn wait_for_change(app: &RouterState, listener: &mut tokio::sync::broadcast::Receiver<JobId>, job: JobId) {
    let told = async {
        loop {
            match listener.recv().await {
                Ok(moved) if moved == job => break,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    // Both outcomes are ignored: the job is read again in any case.
    let _ = tokio::time::timeout(app.settings.job_poll, told).await;
}
