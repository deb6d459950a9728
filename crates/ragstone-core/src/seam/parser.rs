//! The document parser: extracts text from files, isolated from the rest of the process.

use async_trait::async_trait;
use object_store::ObjectStore;

use crate::document::{AttachedFile, DocumentOutline, JobError};
use crate::id::TenantId;

/// A file could not be parsed; the error is written for the person who sent it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", error.detail)]
pub struct ParseFailure {
    /// Code, detail and hint of the error.
    pub error: JobError,
    /// Whether to parse the same bytes again.
    pub retry: ParseRetry,
}

/// Whether to parse the same bytes again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseRetry {
    /// The bytes would fail again.
    Never,
    /// Once: parsing reached its time limit, which a busy machine may explain once but not twice.
    Once,
    /// The bytes are not at fault: retry as often as after any transient failure.
    Usual,
}

/// A file to be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseRequest {
    /// Tenant of the document; tenants share the parser processes.
    pub tenant: TenantId,
    /// Blob key of the bytes.
    pub blob: object_store::path::Path,
    /// File name; together with the bytes it determines the media type.
    pub name: String,
    /// Media type declared by the sender; a hint.
    pub declared_media_type: Option<String>,
}

/// Properties of a file, known once all of its text was handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParseOutput {
    /// Media type detected from file name and bytes.
    pub media_type: String,
    /// Title, sections and warnings.
    pub outline: DocumentOutline,
}

/// The receiver refuses more text; it keeps the reason itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is not taken any further")]
pub struct ReceiverClosedError;

/// Receives the text of a document page by page.
#[async_trait]
pub trait PageReceiver: Send {
    /// Receives the whole text of one page (`None` for formats without pages). The parser waits until it returns.
    async fn receive_page(&mut self, page: Option<u32>, text: &str) -> Result<(), ReceiverClosedError>;

    /// Announces a file attached to the document, after all pages. As many bytes as it declares follow.
    async fn receive_attachment(&mut self, _file: &AttachedFile) -> Result<(), ReceiverClosedError> {
        Ok(())
    }

    /// The next bytes of the file announced last.
    async fn receive_attachment_bytes(&mut self, _bytes: &[u8]) -> Result<(), ReceiverClosedError> {
        Ok(())
    }
}

/// Extracts text from files.
#[async_trait]
pub trait DocumentParser: Send + Sync {
    /// Version of the parsers, part of the pipeline's fingerprint.
    fn fingerprint(&self) -> &str;

    /// Hands the text of a stored file to `pages`, at most one page in memory at a time. After a failure, including one
    /// of `pages`, all text that was handed out is void. A file without text is a failure (`no_text`), never an empty
    /// document.
    async fn parse_document(
        &self,
        blobs: &dyn ObjectStore,
        request: &ParseRequest,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseFailure>;
}
