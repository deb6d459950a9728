//! One parser process, as seen by the server that starts it.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ragstone_core::seam::parser::{PageReceiver, ParseOutput};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::error::{ParseClock, ParseProblem};
use super::frame::{self, ParserProcessMessage, ParserProcessRequest, PipeFrame};
use super::isolate::ProcessIsolation;
use super::pool::ParserOptions;

/// Time that a process has to report that it is ready.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How much of the end of a process's standard error is kept, in bytes.
const MAX_STDERR_BYTES: usize = 4 * 1024;

/// A running parser process; dropping this kills it.
#[derive(Debug)]
pub(super) struct ParserProcess {
    process: tokio::process::Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    stderr_tail: JoinHandle<String>,
    isolation: ProcessIsolation,
    served: u32,
    /// Whether the process is between two documents, so that the next frame answers the next request.
    between_documents: bool,
}

impl ParserProcess {
    /// Starts a process and waits until it is ready. The process inherits no environment.
    pub(super) async fn start(options: &ParserOptions) -> Result<Self, ParseProblem> {
        let mut process = Command::new(&options.program)
            .args(&options.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ParseProblem::NoWorker {
                detail: error.to_string(),
            })?;
        let requests = process.stdin.take().expect("it was asked for above");
        let mut replies = BufReader::new(process.stdout.take().expect("it was asked for above"));
        let last_words = tokio::spawn(collect_stderr_tail(
            process.stderr.take().expect("it was asked for above"),
        ));
        let ready = tokio::time::timeout(START_LIMIT, frame::read_frame(&mut replies)).await;
        let Ok(Ok(PipeFrame::Message(ParserProcessMessage::Ready { isolation }))) = ready else {
            let detail = format!("{} did not say that it is ready", options.program.display());
            return Err(ParseProblem::NoWorker { detail });
        };
        Ok(Self {
            process,
            requests,
            replies,
            stderr_tail: last_words,
            isolation,
            served: 0,
            between_documents: true,
        })
    }

    /// How the process is isolated from the network.
    pub(super) fn isolation(&self) -> ProcessIsolation {
        self.isolation
    }

    /// Number of documents sent to the process so far.
    pub(super) fn documents_served(&self) -> u32 {
        self.served
    }

    /// Whether the process can take another document: it has answered the last one completely.
    pub(super) fn is_reusable(&self) -> bool {
        self.between_documents
    }

    /// Whether the process is still running.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Sends one document to the process and passes its pages to `pages`.
    pub(super) async fn parse_document(
        &mut self,
        request: &ParserProcessRequest,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseProblem> {
        self.served += 1;
        self.between_documents = false;
        let sent = match frame::message_frame(request) {
            Ok(bytes) => self.requests.write_all(&bytes).await,
            Err(error) => Err(error),
        };
        if sent.is_err() {
            return Err(self.exit_problem(request).await);
        }
        self.receive_document(request, pages).await
    }

    async fn receive_document(
        &mut self,
        request: &ParserProcessRequest,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseProblem> {
        let limit = request.limits.max_text_bytes;
        let (mut text, mut text_bytes) = (Vec::new(), 0);
        // `owed`: bytes of the current attachment still to come; `allowed`: bytes that further ones may have.
        let (mut owed, mut allowed) = (0, request.limits.max_bytes);
        loop {
            match frame::read_frame(&mut self.replies).await {
                Ok(PipeFrame::Text(piece)) => {
                    text_bytes += piece.len() as u64;
                    if text_bytes > limit {
                        return Err(ParseProblem::TooMuchText { limit });
                    }
                    text.extend_from_slice(&piece);
                }
                Ok(PipeFrame::Message(ParserProcessMessage::Page { page })) => {
                    let whole = std::str::from_utf8(&text).map_err(|_| invalid_reply())?;
                    pages
                        .receive_page(page, whole)
                        .await
                        .map_err(|_| ParseProblem::ReceiverClosed)?;
                    text.clear();
                }
                Ok(PipeFrame::Message(ParserProcessMessage::Attachment { file }))
                    if owed == 0 && file.bytes <= allowed =>
                {
                    owed = file.bytes;
                    allowed -= file.bytes;
                    pages
                        .receive_attachment(&file)
                        .await
                        .map_err(|_| ParseProblem::ReceiverClosed)?;
                }
                Ok(PipeFrame::Bytes(piece)) if piece.len() as u64 <= owed => {
                    owed -= piece.len() as u64;
                    pages
                        .receive_attachment_bytes(&piece)
                        .await
                        .map_err(|_| ParseProblem::ReceiverClosed)?;
                }
                Ok(PipeFrame::Message(ParserProcessMessage::Done { media_type, outline })) if owed == 0 => {
                    self.between_documents = true;
                    return Ok(ParseOutput { media_type, outline });
                }
                Ok(PipeFrame::Message(ParserProcessMessage::Failed { problem })) => {
                    self.between_documents = !matches!(problem, ParseProblem::Crashed { .. });
                    return Err(problem);
                }
                Ok(PipeFrame::Message(_) | PipeFrame::Bytes(_)) => return Err(invalid_reply()),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(self.exit_problem(request).await);
                }
                Err(_) => return Err(invalid_reply()),
            }
        }
    }

    /// Waits for the process to end and returns the reason.
    async fn exit_problem(&mut self, request: &ParserProcessRequest) -> ParseProblem {
        let status = self.process.wait().await;
        let last_words = (&mut self.stderr_tail).await.unwrap_or_default();
        match status {
            Ok(status) => problem_from_status(status, &last_words, request),
            Err(error) => ParseProblem::Crashed {
                detail: error.to_string(),
            },
        }
    }
}

fn problem_from_status(status: ExitStatus, last_words: &str, request: &ParserProcessRequest) -> ParseProblem {
    if status.signal() == Some(libc::SIGXCPU) {
        return ParseProblem::TimedOut {
            limit_seconds: request.cpu_seconds,
            clock: ParseClock::Cpu,
        };
    }
    // The standard library prints these messages when memory or stack runs out, before the process aborts.
    if last_words.contains("memory allocation of") {
        return ParseProblem::OutOfMemory {
            limit: request.memory_bytes,
        };
    }
    let detail = if last_words.contains("has overflowed its stack") {
        "its nesting overflowed the stack".to_owned()
    } else {
        status.to_string()
    };
    ParseProblem::Crashed { detail }
}

fn invalid_reply() -> ParseProblem {
    ParseProblem::Crashed {
        detail: "its answer is garbled".to_owned(),
    }
}

/// Reads the process's standard error to its end and keeps the last part of it.
async fn collect_stderr_tail(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut piece).await {
        kept.extend_from_slice(&piece[..length]);
        kept.drain(..kept.len().saturating_sub(MAX_STDERR_BYTES));
    }
    String::from_utf8_lossy(&kept).into_owned()
}
