//! The few fields of a document that are needed to check and label search results.

use std::sync::Arc;

use crate::access::Acl;
use crate::document::SourceUrl;
use crate::id::{DocumentId, Generation};

/// Who may read a document, and which of its generations is published.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentAccess {
    /// Id of the document.
    pub id: DocumentId,
    /// Who may read the document; documents with equal readers may share the value.
    pub acl: Arc<Acl>,
    /// Revision number of `acl`.
    pub acl_revision: u64,
    /// The published generation; `None` if there is none.
    pub published: Option<Generation>,
}

/// How a document is presented to its readers.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentLabel {
    /// Id of the document.
    pub id: DocumentId,
    /// Title of the document.
    pub title: String,
    /// URI of the document.
    pub uri: String,
    /// Address where a person can open the document.
    pub source_url: Option<SourceUrl>,
}
