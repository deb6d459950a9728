//! Receives the parts of a multipart form.
//!
//! Invariant: at most the limit of a file and a bounded rest are read; a sender that pauses too long, or is too slow on
//! average, is refused.

use std::time::Duration;

use async_stream::stream;
use axum::extract::multipart::{Field, MultipartError};
use axum::http::StatusCode;
use bytes::Bytes;
use futures::Stream;
use ragstone_core::ingest::{AcceptError, ReceivedFile};
use tokio::time::Instant;

use super::form::last_component;
use crate::http::RouterState;
use crate::http::extract::is_disconnected;
use crate::http::problem::{ApiProblem, Code};

/// Longest form field other than a file, in bytes.
const MAX_FIELD_BYTES: usize = 1024 * 1024;
/// How much of a file beyond its limit is read and discarded to reach the next file, in bytes.
const MAX_SKIPPED_BYTES: u64 = 16 * 1024 * 1024;

/// Minimum average rate of a form, in bytes per second, enforced once it has taken longer than the idle timeout.
const MIN_BYTES_PER_SECOND: f64 = 1_024.0;

/// Measures the average rate at which a form arrives.
pub(super) struct TransferRate {
    started: Instant,
    bytes: usize,
}

impl TransferRate {
    /// Starts the measurement at the current time.
    pub fn start_now() -> Self {
        Self {
            started: Instant::now(),
            bytes: 0,
        }
    }

    /// Counts received bytes; fails if the sender was too slow on average after `grace`.
    fn count_bytes(&mut self, bytes: usize, grace: Duration) -> Result<(), ApiProblem> {
        self.bytes += bytes;
        let elapsed = self.started.elapsed();
        let wanted = elapsed.as_secs_f64() * MIN_BYTES_PER_SECOND;
        match elapsed > grace && (self.bytes as f64) < wanted {
            true => Err(ApiProblem::new(
                Code::Interrupted,
                "the sender was too slow on the whole",
            )),
            false => Ok(()),
        }
    }
}

/// A file that was received, or refused by itself.
pub(super) struct UploadedFile {
    pub name: String,
    pub declared_media_type: Option<String>,
    pub received: Result<ReceivedFile, AcceptError>,
}

/// Deletes received bytes that no document will use. A failure is only logged: a periodic sweep removes them later.
pub(super) async fn discard_received(app: &RouterState, received: ReceivedFile) {
    if let Err(error) = app.ingestor.incoming().discard_received(received).await {
        tracing::warn!(%error, "refused bytes wait for the sweep");
    }
}

/// Streams the bytes of a file to the blob store. A file that is too large or does not fit on the disk is refused by
/// itself; a body that breaks off fails the whole request.
pub(super) async fn receive_file(
    app: &RouterState,
    pace: &mut TransferRate,
    mut field: Field<'_>,
    name: &str,
) -> Result<UploadedFile, ApiProblem> {
    let Some(name) = last_component(name) else {
        return Err(ApiProblem::new(Code::BadField, format!("{name:?} is not a file name")).with_pointer("/file"));
    };
    let declared_media_type = field.content_type().map(str::to_owned);
    let mut broke = None;
    let bytes = file_bytes(app, pace, &mut field, &mut broke);
    let received = app.ingestor.incoming().receive_file(&name, bytes).await;
    if let (None, Err(AcceptError::TooLarge { limit, .. })) = (&broke, &received) {
        skip_rest(app, pace, &mut field, &name, *limit).await?;
    }
    match (broke, received) {
        (Some(problem), _) => Err(problem),
        (None, Err(error)) if !matches!(error, AcceptError::TooLarge { .. } | AcceptError::Full(_)) => {
            Err(error.into())
        }
        (None, received) => Ok(UploadedFile {
            name,
            declared_media_type,
            received,
        }),
    }
}

/// Reads the rest of a file that is too large, because other files may follow; fails if the rest is too large as well.
async fn skip_rest(
    app: &RouterState,
    pace: &mut TransferRate,
    field: &mut Field<'_>,
    name: &str,
    limit: u64,
) -> Result<(), ApiProblem> {
    let mut skipped = 0;
    while let Some(bytes) = next_chunk(app, pace, field).await? {
        skipped += bytes.len() as u64;
        if skipped > MAX_SKIPPED_BYTES {
            let detail = format!("{name} is larger than {limit} bytes, by so much that the rest was not read");
            return Err(ApiProblem::new(Code::TooLarge, detail));
        }
    }
    Ok(())
}

fn file_bytes<'a>(
    app: &'a RouterState,
    pace: &'a mut TransferRate,
    field: &'a mut Field<'_>,
    broke: &'a mut Option<ApiProblem>,
) -> impl Stream<Item = Result<Bytes, String>> + Send + 'a {
    stream! {
        loop {
            match next_chunk(app, pace, field).await {
                Ok(Some(bytes)) => yield Ok(bytes),
                Ok(None) => break,
                Err(problem) => {
                    let detail = problem.detail.clone();
                    *broke = Some(problem);
                    yield Err(detail);
                    break;
                }
            }
        }
    }
}

pub(super) async fn field_text(
    app: &RouterState,
    pace: &mut TransferRate,
    mut field: Field<'_>,
    name: &str,
) -> Result<String, ApiProblem> {
    let mut value = Vec::new();
    while let Some(bytes) = next_chunk(app, pace, &mut field).await? {
        if value.len() + bytes.len() > MAX_FIELD_BYTES {
            let detail = format!("field {name}: more than {MAX_FIELD_BYTES} bytes");
            return Err(ApiProblem::new(Code::TooLarge, detail));
        }
        value.extend_from_slice(&bytes);
    }
    String::from_utf8(value).map_err(|_| {
        ApiProblem::new(Code::BadField, format!("field {name}: is not UTF-8")).with_pointer(format!("/{name}"))
    })
}

async fn next_chunk(
    app: &RouterState,
    pace: &mut TransferRate,
    field: &mut Field<'_>,
) -> Result<Option<Bytes>, ApiProblem> {
    let chunk = with_idle_timeout(app, field.chunk()).await?;
    if let Some(bytes) = &chunk {
        pace.count_bytes(bytes.len(), app.settings.idle_timeout)?;
    }
    Ok(chunk)
}

/// Waits for the next part of a body; fails if the sender pauses for longer than the idle timeout.
pub(super) async fn with_idle_timeout<T>(
    app: &RouterState,
    next: impl Future<Output = Result<T, MultipartError>>,
) -> Result<T, ApiProblem> {
    match tokio::time::timeout(app.settings.idle_timeout, next).await {
        Ok(next) => next.map_err(|error| multipart_problem(app, &error)),
        Err(_) => Err(ApiProblem::new(Code::Interrupted, "the sender paused for too long")),
    }
}

/// The problem of a form that is too large as a whole.
pub(super) fn body_too_large_problem(app: &RouterState) -> ApiProblem {
    let limit = app.settings.body_bytes;
    ApiProblem::new(Code::TooLarge, format!("the body has more than {limit} bytes"))
}

fn multipart_problem(app: &RouterState, error: &MultipartError) -> ApiProblem {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => body_too_large_problem(app),
        _ if is_disconnected(error) => ApiProblem::new(Code::Interrupted, "the body broke off"),
        _ => ApiProblem::new(Code::BadMultipart, error.body_text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sender_may_pause_but_not_drip() {
        let grace = Duration::from_secs(60);
        let mut pace = TransferRate::start_now();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(pace.count_bytes(1, grace).is_ok());
        tokio::time::advance(Duration::from_secs(41)).await;
        assert_eq!(pace.count_bytes(1, grace).unwrap_err().code, Code::Interrupted);
        assert!(pace.count_bytes(100 * 1_024, grace).is_ok());
    }
}
