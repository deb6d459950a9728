//! The audit log, one line of JSON per request: who did what to which document, and whether it was allowed.
//!
//! Invariant: a line is ASCII and has no line break, whatever texts it contains; it contains no text of a document and
//! no secret, and the text of a question only where the setting allows it. An accepted line waits for room rather than
//! being dropped: a slow disk slows answers down, and a failing one is counted and logged.

mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ragstone_core::access::Role;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Capacity of the queue to the writer, in lines.
const QUEUE: usize = 1_024;

/// One line: what is recorded about a request.
#[derive(Debug, Clone, Serialize)]
pub struct AuditLine {
    /// Time of the answer, RFC 3339 in UTC.
    pub time: String,
    /// The request's id, as in `X-Request-Id`.
    pub trace_id: String,
    /// The caller's tenant; `None` if the caller was not identified.
    pub tenant: Option<String>,
    /// The caller's name within the tenant.
    pub subject: Option<String>,
    /// The caller's role; `None` if the caller was not identified.
    pub role: Option<Role>,
    /// Method and route template; `none` for a path that does not exist.
    pub action: String,
    /// Ids in the path, ids that the request created, and ids of documents whose text was shown.
    pub targets: Vec<String>,
    /// Whether the request was carried out.
    pub decision: AuditDecision,
    /// HTTP status; `None` if the caller disconnected before the answer.
    pub status: Option<u16>,
    /// Code of the problem in the answer, if any.
    pub code: Option<&'static str>,
    /// Address of the peer, or `operator` for a request through the data directory's socket.
    pub address: Option<String>,
    /// The question's text, if the setting allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
}

/// Whether a request was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditDecision {
    /// The request was carried out, as far as this server knows.
    Allowed,
    /// The request was refused.
    Refused,
}

/// Messages to the writer thread.
enum AuditWriterMessage {
    Line(String),
    Reopen,
    Close(oneshot::Sender<()>),
}

/// The open audit log; clones share it.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<AuditWriterMessage>,
    lost: Arc<AtomicU64>,
    with_questions: bool,
}

impl AuditLog {
    /// Opens or creates the file for appending, with mode 0600, and starts the thread that writes it.
    pub fn open(path: &Path, with_questions: bool) -> io::Result<Self> {
        let lost = Arc::new(AtomicU64::new(0));
        let (queue, messages) = mpsc::channel(QUEUE);
        writer::start_writer(path, messages, lost.clone())?;
        Ok(Self {
            queue,
            lost,
            with_questions,
        })
    }

    /// Whether lines hold the text of questions.
    pub fn includes_questions(&self) -> bool {
        self.with_questions
    }

    /// Number of lines that could not be written.
    pub fn lost_lines(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Queues a line; waits while the queue is full.
    pub async fn write_line(&self, line: &AuditLine) {
        self.send_message(AuditWriterMessage::Line(format_line(line))).await;
    }

    /// Queues a line from a place that cannot wait: if the queue is full, a task of its own waits.
    pub fn write_detached(&self, line: &AuditLine) {
        let waits = match self.queue.try_send(AuditWriterMessage::Line(format_line(line))) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(message)) => Some(message),
            Err(mpsc::error::TrySendError::Closed(_)) => None,
        };
        match (waits, tokio::runtime::Handle::try_current()) {
            (Some(message), Ok(runtime)) => {
                let log = self.clone();
                runtime.spawn(async move { log.send_message(message).await });
            }
            _ => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Reopens the file by its path, after the old one was moved away.
    pub async fn reopen(&self) {
        self.send_message(AuditWriterMessage::Reopen).await;
    }

    /// Waits until all earlier lines are in the file; later ones are lost, and counted.
    pub async fn close(&self) {
        let (done, written) = oneshot::channel();
        self.send_message(AuditWriterMessage::Close(done)).await;
        // An error means that the writer has ended, so nothing is left to wait for.
        let _ = written.await;
    }

    async fn send_message(&self, message: AuditWriterMessage) {
        let is_line = matches!(message, AuditWriterMessage::Line(_));
        if self.queue.send(message).await.is_err() && is_line {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A line as it is written. Characters outside ASCII are escaped: some of them break lines or move a terminal's cursor.
/// In JSON they can only be in a string, where an escape means the same.
fn format_line(line: &AuditLine) -> String {
    let json = serde_json::to_string(line).expect("text and numbers serialise");
    let mut text = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        match character {
            ' '..='~' => text.push(character),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
