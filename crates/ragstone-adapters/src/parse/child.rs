//! One parser process as its server sees it.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ragstone_core::seam::parser::{PageReceiver, Parsed};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::error::{Clock, ParseProblem};
use super::frame::{self, Frame, Message, Request};
use super::isolate::Isolation;
use super::pool::ParserOptions;

/// Time a process has to say that it is ready.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How much of a process's last words is kept, in bytes.
const LAST_WORDS: usize = 4 * 1024;

/// A parser process; it is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    last_words: JoinHandle<String>,
    isolation: Isolation,
    served: u32,
    /// Whether it stands between two documents, so that the next frame is the answer to the next request.
    between_documents: bool,
}

impl Child {
    /// Starts a process and waits until it is ready. It inherits no environment.
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
        let last_words = tokio::spawn(keep_last_words(process.stderr.take().expect("it was asked for above")));
        let ready = tokio::time::timeout(START_LIMIT, frame::read_frame(&mut replies)).await;
        let Ok(Ok(Frame::Message(Message::Ready { isolation }))) = ready else {
            let detail = format!("{} did not say that it is ready", options.program.display());
            return Err(ParseProblem::NoWorker { detail });
        };
        Ok(Self {
            process,
            requests,
            replies,
            last_words,
            isolation,
            served: 0,
            between_documents: true,
        })
    }

    /// How it is kept from the network.
    pub(super) fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Documents so far.
    pub(super) fn served(&self) -> u32 {
        self.served
    }

    /// Whether it can take another document.
    pub(super) fn is_reusable(&self) -> bool {
        self.between_documents
    }

    /// Whether it is still running.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Has one document parsed.
    pub(super) async fn parse(
        &mut self,
        request: &Request,
        pages: &mut dyn PageReceiver,
    ) -> Result<Parsed, ParseProblem> {
        self.served += 1;
        self.between_documents = false;
        let sent = match frame::message_frame(request) {
            Ok(bytes) => self.requests.write_all(&bytes).await,
            Err(error) => Err(error),
        };
        if sent.is_err() {
            return Err(self.epitaph(request).await);
        }
        self.receive(request, pages).await
    }

    async fn receive(&mut self, request: &Request, pages: &mut dyn PageReceiver) -> Result<Parsed, ParseProblem> {
        let limit = request.limits.max_text_bytes;
        let (mut text, mut text_bytes) = (Vec::new(), 0);
        // What the file is still owed, and what all files together may have.
        let (mut owed, mut allowed) = (0, request.limits.max_bytes);
        loop {
            match frame::read_frame(&mut self.replies).await {
                Ok(Frame::Text(piece)) => {
                    text_bytes += piece.len() as u64;
                    if text_bytes > limit {
                        return Err(ParseProblem::TooMuchText { limit });
                    }
                    text.extend_from_slice(&piece);
                }
                Ok(Frame::Message(Message::Page { page })) => {
                    let whole = std::str::from_utf8(&text).map_err(|_| garbled())?;
                    pages.page(page, whole).await.map_err(|_| ParseProblem::NotTaken)?;
                    text.clear();
                }
                Ok(Frame::Message(Message::Attachment { file })) if owed == 0 && file.bytes <= allowed => {
                    owed = file.bytes;
                    allowed -= file.bytes;
                    pages.attachment(&file).await.map_err(|_| ParseProblem::NotTaken)?;
                }
                Ok(Frame::Bytes(piece)) if piece.len() as u64 <= owed => {
                    owed -= piece.len() as u64;
                    pages.attached_bytes(&piece).await.map_err(|_| ParseProblem::NotTaken)?;
                }
                Ok(Frame::Message(Message::Done { media_type, outline })) if owed == 0 => {
                    self.between_documents = true;
                    return Ok(Parsed { media_type, outline });
                }
                Ok(Frame::Message(Message::Failed { problem })) => {
                    self.between_documents = !matches!(problem, ParseProblem::Crashed { .. });
                    return Err(problem);
                }
                Ok(Frame::Message(_) | Frame::Bytes(_)) => return Err(garbled()),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(self.epitaph(request).await);
                }
                Err(_) => return Err(garbled()),
            }
        }
    }

    /// Why the process is gone.
    async fn epitaph(&mut self, request: &Request) -> ParseProblem {
        let status = self.process.wait().await;
        let last_words = (&mut self.last_words).await.unwrap_or_default();
        match status {
            Ok(status) => cause_of_death(status, &last_words, request),
            Err(error) => ParseProblem::Crashed {
                detail: error.to_string(),
            },
        }
    }
}

fn cause_of_death(status: ExitStatus, last_words: &str, request: &Request) -> ParseProblem {
    if status.signal() == Some(libc::SIGXCPU) {
        return ParseProblem::TimedOut {
            limit_seconds: request.cpu_seconds,
            clock: Clock::Cpu,
        };
    }
    // The words of the standard library's handlers for the two deaths.
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

fn garbled() -> ParseProblem {
    ParseProblem::Crashed {
        detail: "its answer is garbled".to_owned(),
    }
}

/// The end of what the process writes to its standard error.
async fn keep_last_words(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut piece).await {
        kept.extend_from_slice(&piece[..length]);
        kept.drain(..kept.len().saturating_sub(LAST_WORDS));
    }
    String::from_utf8_lossy(&kept).into_owned()
}
