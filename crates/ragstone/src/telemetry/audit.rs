//! The audit log: one JSON object a line about each request, who did what to which, and whether it was allowed.
//!
//! Invariant: a line is ASCII and holds no line break, whatever the texts in it are; it holds no text of a document and
//! no secret, and the text of a question only where the setting says so. A line that was taken waits for room rather
//! than being dropped: a disk that is too slow slows the answers down, one that fails is counted and logged.

mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ragstone_core::access::Role;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Lines that wait for the writer; one more waits outside.
const QUEUE: usize = 1_024;

/// What the log says about a request.
#[derive(Debug, Clone, Serialize)]
pub struct AuditLine {
    /// When it was answered, RFC 3339 in UTC.
    pub time: String,
    /// The request's id, as in `X-Request-Id`.
    pub trace_id: String,
    /// The caller's tenant; none where nobody was identified.
    pub tenant: Option<String>,
    /// The caller's name within the tenant.
    pub subject: Option<String>,
    /// What the caller may do.
    pub role: Option<Role>,
    /// Method and template of the route; `none` for a path that does not exist.
    pub action: String,
    /// Ids of the path, of what the request made, and of the documents whose text was shown.
    pub targets: Vec<String>,
    /// Whether the request was carried out.
    pub decision: AuditDecision,
    /// The HTTP status; none where the caller left before the answer.
    pub status: Option<u16>,
    /// The code of the problem it was answered with, if any.
    pub code: Option<&'static str>,
    /// The peer's address, or `operator` for the door of whoever has the data directory.
    pub address: Option<String>,
    /// The question, where the setting wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
}

/// Whether a request was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditDecision {
    /// It was, as far as this server could.
    Allowed,
    /// It was not.
    Refused,
}

/// What the writer is told.
enum AuditWriterMessage {
    Line(String),
    Reopen,
    Close(oneshot::Sender<()>),
}

/// The open log; clones share it.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<AuditWriterMessage>,
    lost: Arc<AtomicU64>,
    with_questions: bool,
}

impl AuditLog {
    /// Opens the file for appending, made for its owner only, and starts the thread that writes it.
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

    /// Lines that could not be written.
    pub fn lost_lines(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Hands over a line, and waits while too many wait.
    pub async fn write_line(&self, line: &AuditLine) {
        self.send_message(AuditWriterMessage::Line(format_line(line))).await;
    }

    /// Hands over a line from where nobody can wait: what does not fit waits in a task of its own.
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

    /// Writes to a file of the same name from here on: the old one was moved away.
    pub async fn reopen(&self) {
        self.send_message(AuditWriterMessage::Reopen).await;
    }

    /// Ends when all lines before are in the file; later ones are lost, and counted.
    pub async fn close(&self) {
        let (done, written) = oneshot::channel();
        self.send_message(AuditWriterMessage::Close(done)).await;
        // An error says that the writer has ended, and so that nothing is left to wait for.
        let _ = written.await;
    }

    async fn send_message(&self, message: AuditWriterMessage) {
        let is_line = matches!(message, AuditWriterMessage::Line(_));
        if self.queue.send(message).await.is_err() && is_line {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A line as it is written. Outside of ASCII there are further line breaks and characters that move a terminal's
/// cursor; in JSON they can only stand in a string, where an escape means the same.
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
