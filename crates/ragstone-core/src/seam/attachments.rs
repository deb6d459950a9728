//! Attachments: the files in a mail are documents of their own, ingested, readable and deleted together with it.
//!
//! Invariant: a file is attached under the lease of its mail's job, so a mail that was deleted or replaced meanwhile
//! gets no more attachments. A file has its mail's readers from the transaction that sets them, and so have files
//! inside it.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::{BeginOutcome, CatalogueResult, JobLease, NewVersion};
use crate::document::{Document, Job};
use crate::id::{ContentHash, DocumentId, Generation, JobId};

/// A file from a mail whose bytes have been received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttachment {
    /// URI of the file's document within the mail's source.
    pub uri: String,
    /// File name; together with the bytes it determines the media type.
    pub name: String,
    /// Media type declared in the mail; a hint.
    pub declared_media_type: Option<String>,
    /// BLAKE3 hash of the bytes.
    pub content_hash: ContentHash,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Blob key of the received bytes.
    pub incoming: String,
    /// Fingerprint of the pipeline that will make the chunks.
    pub pipeline: String,
}

impl NewAttachment {
    /// The version to begin: everything except name, type and bytes comes from the mail. `batch` is the batch of the
    /// mail's job.
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

/// A document that is attached to another document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachedDocument {
    /// Id of the attached document.
    pub document: DocumentId,
    /// The mail's generation that contained it last.
    pub mail_generation: Generation,
}

/// Stores which document is attached to which.
#[async_trait]
pub trait AttachmentStore: Send + Sync {
    /// Begins a version of a file in the lease's document, like `begin_version`, and records that it is attached.
    /// `UriTaken` if a document with this URI is not attached to the mail and has other readers.
    async fn begin_attachment(
        &self,
        lease: &JobLease,
        attachment: NewAttachment,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome>;

    /// Documents attached directly to `document`, which may be tombstoned; ordered by id.
    async fn list_attachments(&self, document: DocumentId) -> CatalogueResult<Vec<AttachedDocument>>;

    /// Tombstones an attachment that only an earlier generation of the lease's document contained, and queues its
    /// purge. `None` if there is no such attachment.
    async fn remove_attachment(
        &self,
        lease: &JobLease,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;
}
