//! The thread that writes the audit log.
//!
//! Invariant: a line that could not be written whole is never continued by the next one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::Receiver;

use super::AuditWriterMessage;

/// Approximate size of one write; waiting lines are written together.
const BATCH_BYTES: usize = 64 * 1024;

/// Opens the file and starts the thread. The thread ends when the last sender is dropped, or on `Close`.
pub(super) fn start_writer(
    path: &Path,
    messages: Receiver<AuditWriterMessage>,
    lost: Arc<AtomicU64>,
) -> io::Result<()> {
    let writer = AuditWriter {
        file: open_for_append(path)?,
        path: path.to_owned(),
        lost,
        failing: false,
    };
    std::thread::Builder::new()
        .name("audit".into())
        .spawn(move || writer.process_messages(messages))
        .map(drop)
}

fn open_for_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

struct AuditWriter {
    file: File,
    path: PathBuf,
    lost: Arc<AtomicU64>,
    /// Whether the last write failed, perhaps in the middle of a line.
    failing: bool,
}

impl AuditWriter {
    fn process_messages(mut self, mut messages: Receiver<AuditWriterMessage>) {
        while let Some(first) = messages.blocking_recv() {
            match self.write_waiting_lines(first, &mut messages) {
                Some(AuditWriterMessage::Reopen) => self.reopen_file(),
                Some(AuditWriterMessage::Close(done)) => {
                    if let Err(error) = self.file.sync_all() {
                        tracing::error!(%error, "the audit log could not be synced");
                    }
                    // From here on later lines are refused and counted as lost, before `close` returns to its caller.
                    drop(messages);
                    // The caller may have stopped waiting.
                    let _ = done.send(());
                    return;
                }
                _ => {}
            }
        }
    }

    /// Writes `first` and the lines queued behind it, up to a batch; returns the message at which it stopped.
    fn write_waiting_lines(
        &mut self,
        first: AuditWriterMessage,
        messages: &mut Receiver<AuditWriterMessage>,
    ) -> Option<AuditWriterMessage> {
        let (mut batch, mut lines, mut next) = (String::new(), 0, Some(first));
        while let Some(AuditWriterMessage::Line(line)) = next {
            batch.push_str(&line);
            lines += 1;
            let more = batch.len() < BATCH_BYTES;
            next = more.then(|| messages.try_recv().ok()).flatten();
        }
        if lines > 0 {
            self.write_batch(&batch, lines);
        }
        next
    }

    fn write_batch(&mut self, batch: &str, lines: u64) {
        // Ends the partial line that a failed write may have left.
        let start = if self.failing { "\n" } else { "" };
        match self.file.write_all(format!("{start}{batch}").as_bytes()) {
            Ok(()) => {
                if self.failing {
                    let lost = self.lost.load(Ordering::Relaxed);
                    tracing::warn!(lost, "the audit log is written again");
                }
                self.failing = false;
            }
            Err(error) => {
                self.lost.fetch_add(lines, Ordering::Relaxed);
                if !self.failing {
                    tracing::error!(path = %self.path.display(), %error, "the audit log cannot be written");
                }
                self.failing = true;
            }
        }
    }

    /// Opens the path again; keeps the old file if that fails.
    fn reopen_file(&mut self) {
        match open_for_append(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the audit log cannot be opened again");
            }
        }
    }
}
