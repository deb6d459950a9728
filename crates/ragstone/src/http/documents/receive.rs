//! The parts of a form as they arrive.
//!
//! Invariant: no more of a file is read than its limit and a bounded rest, and no sender is waited for that pauses too
//! long, or sends too slowly on the whole.

use std::time::Duration;

use async_stream::stream;
use axum::extract::multipart::{Field, MultipartError};
use axum::http::StatusCode;
use bytes::Bytes;
use futures::Stream;
use ragstone_core::ingest::{AcceptError, Received};
use tokio::time::Instant;

use super::form::last_component;
use crate::http::App;
use crate::http::extract::broke_off;
use crate::http::problem::{Code, Problem};

/// Longest field of a form that is no file, in bytes.
const MAX_FIELD_BYTES: usize = 1024 * 1024;
/// How much of a file that is too large is read on for the sake of the files behind it, in bytes.
const MAX_SKIPPED_BYTES: u64 = 16 * 1024 * 1024;

/// Least bytes a second of a form, on the whole and once it has taken longer than one pause may.
const MIN_BYTES_PER_SECOND: f64 = 1_024.0;

/// How fast a form arrives.
pub(super) struct Pace {
    started: Instant,
    bytes: usize,
}

impl Pace {
    /// Of a form that begins to arrive.
    pub fn begin() -> Self {
        Self {
            started: Instant::now(),
            bytes: 0,
        }
    }

    /// Counts bytes that came, and refuses a sender that is too slow.
    fn took(&mut self, bytes: usize, grace: Duration) -> Result<(), Problem> {
        self.bytes += bytes;
        let elapsed = self.started.elapsed();
        let wanted = elapsed.as_secs_f64() * MIN_BYTES_PER_SECOND;
        match elapsed > grace && (self.bytes as f64) < wanted {
            true => Err(Problem::new(Code::Interrupted, "the sender was too slow on the whole")),
            false => Ok(()),
        }
    }
}

/// A file whose bytes were received, or refused.
pub(super) struct File {
    pub name: String,
    pub declared_media_type: Option<String>,
    pub received: Result<Received, AcceptError>,
}

/// Throws the bytes away again.
pub(super) async fn discard(app: &App, received: Received) {
    if let Err(error) = app.ingestor.discard_received(received).await {
        tracing::warn!(%error, "refused bytes wait for the sweep");
    }
}

/// Streams a file's bytes to the blob store. A file that is too large, or for which there is no room, is refused by
/// itself; a body that breaks off is the end of the request.
pub(super) async fn receive(app: &App, pace: &mut Pace, mut field: Field<'_>, name: &str) -> Result<File, Problem> {
    let Some(name) = last_component(name) else {
        return Err(Problem::new(Code::BadField, format!("{name:?} is not a file name")).at("/file"));
    };
    let declared_media_type = field.content_type().map(str::to_owned);
    let mut broke = None;
    let bytes = file_bytes(app, pace, &mut field, &mut broke);
    let received = app.ingestor.receive(&name, bytes).await;
    if let (None, Err(AcceptError::TooLarge { limit, .. })) = (&broke, &received) {
        skip(app, pace, &mut field, &name, *limit).await?;
    }
    match (broke, received) {
        (Some(problem), _) => Err(problem),
        (None, Err(error)) if !matches!(error, AcceptError::TooLarge { .. } | AcceptError::Full(_)) => {
            Err(error.into())
        }
        (None, received) => Ok(File {
            name,
            declared_media_type,
            received,
        }),
    }
}

/// Reads the rest of a file that is too large, which may have others behind it, unless that is too much as well.
async fn skip(app: &App, pace: &mut Pace, field: &mut Field<'_>, name: &str, limit: u64) -> Result<(), Problem> {
    let mut skipped = 0;
    while let Some(bytes) = chunk(app, pace, field).await? {
        skipped += bytes.len() as u64;
        if skipped > MAX_SKIPPED_BYTES {
            let detail = format!("{name} is larger than {limit} bytes, by so much that the rest was not read");
            return Err(Problem::new(Code::TooLarge, detail));
        }
    }
    Ok(())
}

fn file_bytes<'a>(
    app: &'a App,
    pace: &'a mut Pace,
    field: &'a mut Field<'_>,
    broke: &'a mut Option<Problem>,
) -> impl Stream<Item = Result<Bytes, String>> + Send + 'a {
    stream! {
        loop {
            match chunk(app, pace, field).await {
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
    app: &App,
    pace: &mut Pace,
    mut field: Field<'_>,
    name: &str,
) -> Result<String, Problem> {
    let mut value = Vec::new();
    while let Some(bytes) = chunk(app, pace, &mut field).await? {
        if value.len() + bytes.len() > MAX_FIELD_BYTES {
            let detail = format!("field {name}: more than {MAX_FIELD_BYTES} bytes");
            return Err(Problem::new(Code::TooLarge, detail));
        }
        value.extend_from_slice(&bytes);
    }
    String::from_utf8(value)
        .map_err(|_| Problem::new(Code::BadField, format!("field {name}: is not UTF-8")).at(format!("/{name}")))
}

async fn chunk(app: &App, pace: &mut Pace, field: &mut Field<'_>) -> Result<Option<Bytes>, Problem> {
    let chunk = in_time(app, field.chunk()).await?;
    if let Some(bytes) = &chunk {
        pace.took(bytes.len(), app.settings.idle_timeout)?;
    }
    Ok(chunk)
}

/// The next part of a body whose sender does not pause too long.
pub(super) async fn in_time<T>(app: &App, next: impl Future<Output = Result<T, MultipartError>>) -> Result<T, Problem> {
    match tokio::time::timeout(app.settings.idle_timeout, next).await {
        Ok(next) => next.map_err(|error| multipart_problem(app, &error)),
        Err(_) => Err(Problem::new(Code::Interrupted, "the sender paused for too long")),
    }
}

/// A form that is too large as a whole.
pub(super) fn body_too_large(app: &App) -> Problem {
    let limit = app.settings.body_bytes;
    Problem::new(Code::TooLarge, format!("the body has more than {limit} bytes"))
}

fn multipart_problem(app: &App, error: &MultipartError) -> Problem {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => body_too_large(app),
        _ if broke_off(error) => Problem::new(Code::Interrupted, "the body broke off"),
        _ => Problem::new(Code::BadMultipart, error.body_text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sender_may_pause_but_not_drip() {
        let grace = Duration::from_secs(60);
        let mut pace = Pace::begin();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(pace.took(1, grace).is_ok());
        tokio::time::advance(Duration::from_secs(41)).await;
        assert_eq!(pace.took(1, grace).unwrap_err().code, Code::Interrupted);
        assert!(pace.took(100 * 1_024, grace).is_ok());
    }
}
