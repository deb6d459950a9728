//! The few facts of a document that an answer needs.

use std::sync::Arc;

use crate::access::Acl;
use crate::document::SourceUrl;
use crate::id::{DocumentId, Generation};

/// Who may read a document, and which of its generations is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentAccess {
    /// The document.
    pub id: DocumentId,
    /// Who may read it; documents with the same readers may share it.
    pub acl: Arc<Acl>,
    /// The ACL's revision.
    pub acl_revision: u64,
    /// The published generation.
    pub published: Option<Generation>,
}

/// How a document is named to its readers.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentLabel {
    /// The document.
    pub id: DocumentId,
    /// Its title.
    pub title: String,
    /// Its URI.
    pub uri: String,
    /// Where a person can open it.
    pub source_url: Option<SourceUrl>,
}
