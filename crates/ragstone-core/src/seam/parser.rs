//! Bytes to text, isolated from the rest of the process.

use async_trait::async_trait;
use object_store::ObjectStore;

use crate::document::{JobError, ParsedDocument};

/// A file could not be made into text; says why to the person who sent it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", error.detail)]
pub struct ParseFailure {
    /// Code, detail and hint.
    pub error: JobError,
    /// Whether the same bytes may pass another time (a machine out of memory, say).
    pub may_pass: bool,
}

/// What is to be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseRequest {
    /// Where the bytes lie in the blob store.
    pub blob: object_store::path::Path,
    /// The file's name, which with the bytes decides its type.
    pub name: String,
    /// What the sender says it is; a hint.
    pub declared_media_type: Option<String>,
}

/// Bytes to text.
#[async_trait]
pub trait Parser: Send + Sync {
    /// The parsers' version: part of the pipeline's fingerprint.
    fn fingerprint(&self) -> &str;

    /// The text of a stored file. A file without text is a failure (`no_text`), never an empty document.
    async fn parse(
        &self,
        blobs: &dyn ObjectStore,
        request: &ParseRequest,
    ) -> Result<ParsedDocument, ParseFailure>;
}
