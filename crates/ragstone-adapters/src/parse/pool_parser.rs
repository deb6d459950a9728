//! The parser pool as a [`DocumentParser`]: provides each blob as a file that the parser process may open.

use async_trait::async_trait;
use futures::StreamExt;
use object_store::{GetResult, GetResultPayload, ObjectStore, ObjectStoreExt};
use ragstone_core::document::JobError;
use ragstone_core::seam::parser::{DocumentParser, PageReceiver, ParseFailure, ParseOutput, ParseRequest, ParseRetry};
use tokio::io::AsyncWriteExt;

use super::{ParseProblem, ParserPool};

/// Identifies what the parsers make of equal bytes. Raise it with every change of their output, because chunk ids are
/// derived from it.
pub const PARSER_FINGERPRINT: &str = "parse-5";

/// Parses stored files in child processes.
#[derive(Debug)]
pub struct PoolParser {
    pool: ParserPool,
}

impl PoolParser {
    /// Creates a parser that uses `pool`.
    pub fn new(pool: ParserPool) -> Self {
        Self { pool }
    }

    /// The pool that parses the files.
    pub fn pool(&self) -> &ParserPool {
        &self.pool
    }
}

#[async_trait]
impl DocumentParser for PoolParser {
    fn fingerprint(&self) -> &str {
        PARSER_FINGERPRINT
    }

    async fn parse_document(
        &self,
        blobs: &dyn ObjectStore,
        request: &ParseRequest,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseFailure> {
        let found = blobs.get(&request.blob).await.map_err(unreadable_blob)?;
        let (name, declared) = (&request.name, request.declared_media_type.as_deref());
        let parsed = match &found.payload {
            GetResultPayload::File(_, path) => self.pool.parse_into(&request.tenant, path, name, declared, pages).await,
            GetResultPayload::Stream(_) => {
                let copy = copy_to_file(found).await?;
                let path = copy.path();
                self.pool.parse_into(&request.tenant, path, name, declared, pages).await
            }
        };
        parsed.map_err(|error| build_failure(&error.problem, error.to_string()))
    }
}

/// Copies a blob of a store without local files to a temporary file, which is removed with the handle.
async fn copy_to_file(found: GetResult) -> Result<tempfile::NamedTempFile, ParseFailure> {
    let copy = tempfile::NamedTempFile::new().map_err(unreadable_blob)?;
    let mut file = tokio::fs::File::from_std(copy.reopen().map_err(unreadable_blob)?);
    let mut bytes = found.into_stream();
    while let Some(next) = bytes.next().await {
        file.write_all(&next.map_err(unreadable_blob)?)
            .await
            .map_err(unreadable_blob)?;
    }
    file.flush().await.map_err(unreadable_blob)?;
    Ok(copy)
}

fn unreadable_blob(error: impl std::fmt::Display) -> ParseFailure {
    ParseFailure {
        error: JobError {
            code: "blob_store_failed".into(),
            detail: format!("the stored file cannot be read: {error}"),
            hint: "check the disk of the data directory".into(),
        },
        retry: ParseRetry::Usual,
    }
}

fn build_failure(problem: &ParseProblem, detail: String) -> ParseFailure {
    ParseFailure {
        error: JobError {
            code: problem.code().into(),
            detail,
            hint: problem_hint(problem).into(),
        },
        retry: problem.retry_policy(),
    }
}

/// What the sender of the file can do about a problem.
fn problem_hint(problem: &ParseProblem) -> &'static str {
    match problem {
        ParseProblem::Empty => "send the file again, it arrived without a byte",
        ParseProblem::Encrypted => "remove the password, then send the file again",
        ParseProblem::Damaged { .. } => "open it in its own program and save it again",
        ParseProblem::NoText { .. } => "scanned pages need OCR before they are ingested",
        ParseProblem::TooLarge { .. } => "split the file, or raise parse.max_bytes",
        ParseProblem::TooManyPages { .. } => "split the file, or raise parse.max_pages",
        ParseProblem::TooMuchText { .. } => "split the file, or raise parse.max_text_bytes",
        ParseProblem::UnpacksTooLarge { .. } => "split the file, or save it with fewer or smaller parts",
        ParseProblem::TooComplex { .. } => "open it in its own program and save it in another format",
        ParseProblem::Unsupported { .. } => {
            "PDF, Office and OpenDocument files, RTF, EPUB, mails, CSV, Markdown, HTML and plain text are read"
        }
        ParseProblem::TimedOut { .. } => {
            "split the file, or raise parse.cpu_seconds, parse.small_cpu_seconds and parse.wall_seconds"
        }
        ParseProblem::OutOfMemory { .. } => "split the file, or raise parse.memory_bytes",
        ParseProblem::Crashed { .. } => "open it in its own program and save it again",
        ParseProblem::Unreadable { .. } => "check the disk of the data directory",
        ParseProblem::NoWorker { .. } | ParseProblem::ReceiverClosed | ParseProblem::Busy { .. } => {
            "it is tried again by itself"
        }
    }
}
