//! What came in a document: the files in a mail, documents of their own that are begun, readable and deleted with it.
//!
//! Invariant: a file is attached under the lease of its mail's job, so a mail that was deleted or replaced meanwhile takes
//! nothing more; it has its mail's readers from the same transaction on, and so have the files in it.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::{BeginOutcome, CatalogueResult, JobLease, NewVersion};
use crate::document::{Document, Job};
use crate::id::{ContentHash, DocumentId, Generation, JobId};

/// A file in a mail whose bytes were received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttachment {
    /// Its document's name within the mail's source.
    pub uri: String,
    /// The file name, which with the bytes decides the type.
    pub name: String,
    /// What the mail says the bytes are; a hint.
    pub declared_media_type: Option<String>,
    /// BLAKE3 of the bytes.
    pub content_hash: ContentHash,
    /// How many bytes.
    pub bytes: u64,
    /// Where they wait in the blob store.
    pub incoming: String,
    /// The pipeline that will make chunks of it.
    pub pipeline: String,
}

impl NewAttachment {
    /// The version that it begins: everything beside its bytes is the mail's. `batch` is the one of the mail's job.
    pub fn into_new_version(self, mail: &Document, batch: Option<JobId>) -> NewVersion {
        NewVersion {
            collection: mail.collection.clone(),
            source: mail.source.clone(),
            uri: self.uri,
            may_replace: true,
            name: self.name,
            title: None,
            declared_media_type: self.declared_media_type,
            acl: mail.acl.clone(),
            brought_by: mail.brought_by.clone(),
            department_id: mail.department_id.clone(),
            metadata: mail.metadata.clone(),
            source_url: mail.source_url.clone(),
            content_hash: self.content_hash,
            bytes: self.bytes,
            incoming: self.incoming,
            pipeline: self.pipeline,
            batch,
        }
    }
}

/// A document that is attached to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachedDocument {
    /// The document.
    pub document: DocumentId,
    /// The generation of its mail that brought it last.
    pub mail_generation: Generation,
}

/// Keeps what is attached to what.
#[async_trait]
pub trait AttachmentStore: Send + Sync {
    /// Begins a version of a file in the lease's document, as `begin` does, and notes that it is attached to it. A document
    /// that has the URI without being attached, and other readers than the mail, is `UriTaken`.
    async fn begin_attachment(
        &self,
        lease: &JobLease,
        attachment: NewAttachment,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome>;

    /// What is attached to a document, living or not, by id; what is attached to that is not among it.
    async fn list_attachments(&self, document: DocumentId) -> CatalogueResult<Vec<AttachedDocument>>;

    /// Tombstones what an earlier generation than the lease's brought into its document, and queues its purge. None if
    /// there is no such attachment.
    async fn remove_attachment(
        &self,
        lease: &JobLease,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;
}
