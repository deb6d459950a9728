//! Bytes to text, isolated from the rest of the process.

use async_trait::async_trait;
use object_store::ObjectStore;

use crate::document::{AttachedFile, DocumentOutline, JobError};
use crate::id::TenantId;

/// A file could not be made into text; says why to the person who sent it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", error.detail)]
pub struct ParseFailure {
    /// Code, detail and hint.
    pub error: JobError,
    /// Whether the same bytes are parsed again.
    pub retry: ParseRetry,
}

/// Whether the same bytes are parsed again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseRetry {
    /// They would fail again.
    Never,
    /// One time: they held a parser for its whole time, which a busy machine explains once and not twice.
    Once,
    /// The fault is not in them: as often as any failure that may pass.
    Usual,
}

/// What is to be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseRequest {
    /// Whose document it is: tenants share the parsers.
    pub tenant: TenantId,
    /// Where the bytes lie in the blob store.
    pub blob: object_store::path::Path,
    /// The file's name, which with the bytes decides its type.
    pub name: String,
    /// What the sender says it is; a hint.
    pub declared_media_type: Option<String>,
}

/// What is known of a file once all of its text was handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParseOutput {
    /// The media type that name and bytes showed.
    pub media_type: String,
    /// Title, sections and warnings.
    pub outline: DocumentOutline,
}

/// The receiver takes no more text; it knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is not taken any further")]
pub struct ReceiverClosedError;

/// Receives a document's text, one page after the other.
#[async_trait]
pub trait PageReceiver: Send {
    /// Takes the whole text of one page (`None` where the format has no pages). The parser waits meanwhile.
    async fn receive_page(&mut self, page: Option<u32>, text: &str) -> Result<(), ReceiverClosedError>;

    /// A file that came in the document begins, after all pages; its bytes follow, as many as it says.
    async fn receive_attachment(&mut self, _file: &AttachedFile) -> Result<(), ReceiverClosedError> {
        Ok(())
    }

    /// The next bytes of the file that began last.
    async fn receive_attachment_bytes(&mut self, _bytes: &[u8]) -> Result<(), ReceiverClosedError> {
        Ok(())
    }
}

/// Bytes to text.
#[async_trait]
pub trait DocumentParser: Send + Sync {
    /// The parsers' version: part of the pipeline's fingerprint.
    fn fingerprint(&self) -> &str;

    /// Hands the text of a stored file to `pages` and holds no more than one page of it. After a failure, one of
    /// `pages` included, what was handed out is void. A file without text is a failure (`no_text`), never an empty
    /// document.
    async fn parse_document(
        &self,
        blobs: &dyn ObjectStore,
        request: &ParseRequest,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseFailure>;
}
