//! The parser process: receives paths of documents, and sends their text by page and then the files in them.
//!
//! Invariant: it reads no settings and no environment, opens only the document, and ends with its parent.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ragstone_core::document::AttachedFile;

use super::error::ParseProblem;
use super::frame::{self, ParserProcessMessage, ParserProcessRequest};
use super::isolate::{self, ProcessIsolation};
use super::sink::PageSink;

/// Stack of the parsing thread, in bytes: what recursion in a format's reader may use before the process aborts.
const STACK: usize = 64 << 20;

/// Runs a parser process to its end; never returns.
///
/// `main` calls this before it has a runtime, settings or a second thread.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the child's `main`: it owns nothing that outlives it"
)]
pub fn worker_main() -> ! {
    let isolation = isolate::enter_isolation();
    let served = isolate::take_stdout().and_then(|out| {
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let code = i32::from(serve_requests(isolation, BufWriter::new(out)).is_err());
            std::process::exit(code)
        })
    });
    if served.is_ok() {
        isolate::wait_for_hangup();
    }
    std::process::exit(1)
}

fn serve_requests(isolation: ProcessIsolation, mut out: BufWriter<File>) -> io::Result<()> {
    let mut requests = io::stdin().lock();
    frame::write_message(&mut out, &ParserProcessMessage::Ready { isolation })?;
    out.flush()?;
    while let Some(request) = frame::read_message::<ParserProcessRequest>(&mut requests)? {
        isolate::bound_document(request.memory_bytes, request.cpu_seconds);
        let mut sink = FrameSink { out: &mut out };
        let last = match catch_unwind(AssertUnwindSafe(|| parse_request(&request, &mut sink))) {
            Ok(Ok(done)) => done,
            Ok(Err(problem)) => ParserProcessMessage::Failed { problem },
            Err(panic) => ParserProcessMessage::Failed {
                problem: ParseProblem::Crashed {
                    detail: panic_message(&*panic),
                },
            },
        };
        frame::write_message(&mut out, &last)?;
        out.flush()?;
    }
    Ok(())
}

fn parse_request(
    request: &ParserProcessRequest,
    sink: &mut dyn PageSink,
) -> Result<ParserProcessMessage, ParseProblem> {
    let bytes = read_file(request)?;
    let declared = request.declared.as_deref();
    let (format, outline) =
        super::parse_into(bytes, &request.name, declared, &request.limits, sink).map_err(|error| error.problem)?;
    Ok(ParserProcessMessage::Done {
        media_type: format.media_type().to_owned(),
        outline,
    })
}

/// Reads the document's bytes; fails if the file is larger than the limit.
fn read_file(request: &ParserProcessRequest) -> Result<Vec<u8>, ParseProblem> {
    let unreadable = |error: io::Error| ParseProblem::Unreadable {
        detail: error.to_string(),
    };
    let file = File::open(&request.path).map_err(unreadable)?;
    let limit = request.limits.max_bytes;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > limit {
        return Err(ParseProblem::TooLarge { bytes: size, limit });
    }
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(size as usize + 1).is_err() {
        return Err(ParseProblem::OutOfMemory {
            limit: request.memory_bytes,
        });
    }
    // One byte more than allowed shows that the file has grown in the meantime.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a word"))
}

/// Sends each page to the server as soon as it is parsed.
struct FrameSink<'a> {
    out: &'a mut BufWriter<File>,
}

impl PageSink for FrameSink<'_> {
    fn write_page(&mut self, page: Option<u32>, text: &str) -> Result<(), ParseProblem> {
        let sent = frame::write_text(self.out, text)
            .and_then(|()| frame::write_message(self.out, &ParserProcessMessage::Page { page }));
        sent.map_err(broken_pipe)
    }

    fn write_attachment(&mut self, file: &AttachedFile, bytes: &[u8]) -> Result<(), ParseProblem> {
        let file = file.clone();
        let sent = frame::write_message(self.out, &ParserProcessMessage::Attachment { file })
            .and_then(|()| frame::write_bytes(self.out, bytes));
        sent.map_err(broken_pipe)
    }
}

fn broken_pipe(error: io::Error) -> ParseProblem {
    ParseProblem::Crashed {
        detail: format!("the pipe to the server broke: {error}"),
    }
}
