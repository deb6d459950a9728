//! The catalogue: the authoritative store of documents and jobs.
//!
//! Invariant: a document and its job are written in one transaction; every write of a worker carries its lease and
//! changes nothing once the lease is stale; a tombstoned document is never published again under the same generation.

mod admission;
mod course;
mod error;
mod ledger;
mod writers;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use admission::{DocumentAccess, DocumentLabel};
pub use course::AttemptState;
pub use error::{CatalogueError, CatalogueResult};
pub use ledger::{
    ClaimedJob, ClockReading, ConcurrentJobs, JobFilter, JobLease, JobProgress, MAX_DEATHS, OriginalLocation,
    RequeueOutcome, RetryDelay, SUSPECT_TURNS, aggregate_batch, suspect_wait,
};
pub use writers::check_writer;

use crate::access::{Acl, Scope};
use crate::document::{
    BoundedMetadata, Document, DocumentMetadata, DocumentStatus, Job, JobCounts, JobError, ParseWarning, SourceUrl,
    WorkerId,
};
use crate::id::{CollectionName, ContentHash, DocumentId, Generation, JobId, SourceName, TenantId};
use crate::rank::bm25::{TermId, TermStatistics};

/// One version of a document, as a caller submits it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVersion {
    /// Collection of the document.
    pub collection: CollectionName,
    /// Source of the document.
    pub source: SourceName,
    /// Name of the document within its source; with tenant, collection and source it identifies the document.
    pub uri: String,
    /// Whether the version may replace different bytes.
    pub may_replace: bool,
    /// File name; together with the bytes it determines the media type.
    pub name: String,
    /// Title given by the caller; `None` takes it from the file or its name.
    pub title: Option<String>,
    /// Media type declared by the sender; a hint.
    pub declared_media_type: Option<String>,
    /// Who may read the document.
    pub acl: Acl,
    /// Subject of the caller, stored with the document's first version ([`Scope::creator_subject`]).
    pub brought_by: Option<String>,
    /// Department given by the caller, if any.
    pub department_id: Option<String>,
    /// Key-value pairs given by the caller.
    pub metadata: DocumentMetadata,
    /// Address where a person can open the document.
    pub source_url: Option<SourceUrl>,
    /// BLAKE3 hash of the bytes.
    pub content_hash: ContentHash,
    /// Size of the original in bytes.
    pub bytes: u64,
    /// Blob key of the accepted bytes.
    pub incoming: String,
    /// Fingerprint of the pipeline for the chunks; if it differs from the published version's, this is a new version.
    pub pipeline: String,
    /// The batch that the job belongs to; it is created with the first version that names it.
    pub batch: Option<JobId>,
}

impl NewVersion {
    /// Id of the document that this is a version of.
    pub fn document_id(&self) -> DocumentId {
        DocumentId::from_uri(&self.acl.tenant, &self.collection, &self.source, &self.uri)
    }

    /// The document that a first version creates. The title stays empty: the catalogue sets it.
    pub fn to_document(&self, now: OffsetDateTime) -> Document {
        Document {
            id: self.document_id(),
            collection: self.collection.clone(),
            source: self.source.clone(),
            uri: self.uri.clone(),
            title: String::new(),
            media_type: self.declared_media_type.clone().unwrap_or_default(),
            status: DocumentStatus::Pending,
            version: 1,
            published: None,
            content_hash: self.content_hash,
            bytes: self.bytes,
            pages: None,
            chunks: 0,
            acl: self.acl.clone(),
            acl_revision: 1,
            brought_by: self.brought_by.clone(),
            metadata: self.metadata.clone(),
            department_id: self.department_id.clone(),
            source_url: self.source_url.clone(),
            last_error: None,
            warnings: Vec::new(),
            created_at: now,
            updated_at: now,
        }
    }

    /// Makes the next version of an existing document pending; the published version stays searchable.
    pub fn begin_next_version(&self, document: &mut Document, now: OffsetDateTime) {
        document.version += 1;
        document.content_hash = self.content_hash;
        document.bytes = self.bytes;
        document.last_error = None;
        document.updated_at = now;
        if document.published.is_none() {
            document.status = DocumentStatus::Pending;
            document.media_type = self.declared_media_type.clone().unwrap_or_default();
        }
    }
}

/// Result of beginning a version.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one for each request; nobody keeps many")]
pub enum BeginOutcome {
    /// Everything equals the newest begun version, which is pending or published: nothing was done.
    Unchanged(Document),
    /// Same bytes, other title, metadata, source URL or readers: they take effect at once, nothing is embedded.
    Updated(Document),
    /// A new version is pending; older jobs of the document are cancelled.
    Started(Document, Job),
}

/// Contribution of one generation to the tenant's term statistics; subtracted again when it is replaced or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatisticsDelta {
    /// Number of chunks of the generation.
    pub chunks: u64,
    /// For each term, the number of chunks that contain it.
    pub terms: Vec<(TermId, u32)>,
    /// For each wordpiece of the embedder, the number of chunks that contain it.
    pub pieces: Vec<(u32, u32)>,
}

/// What the pipeline made of a version, to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedVersion {
    /// Title: from the caller, else from the file, else the file name.
    pub title: String,
    /// Media type detected from file name and bytes.
    pub media_type: String,
    /// Number of pages; `None` for formats without pages.
    pub pages: Option<u32>,
    /// Number of chunks of the version.
    pub chunks: u32,
    /// Warnings of the parser.
    pub warnings: Vec<ParseWarning>,
    /// Fingerprint of the pipeline that made the chunks.
    pub pipeline: String,
    /// Contribution to the term statistics.
    pub statistics: StatisticsDelta,
}

impl PublishedVersion {
    /// Makes `generation` the published one and returns the one that it replaces.
    pub fn mark_published(
        &self,
        document: &mut Document,
        generation: Generation,
        now: OffsetDateTime,
    ) -> Option<Generation> {
        let replaced = document.published.replace(generation);
        document.status = DocumentStatus::Published;
        document.media_type.clone_from(&self.media_type);
        document.pages = self.pages;
        document.chunks = self.chunks;
        document.warnings.clone_from(&self.warnings);
        document.last_error = None;
        document.updated_at = now;
        replaced
    }
}

/// Result of publishing a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOutcome {
    /// The generation that was published before; it must be purged.
    pub replaced: Option<Generation>,
    /// ACL revision when published; if newer than that of the points, their payload must be updated again.
    pub acl_revision: u64,
}

/// Changes to a document that do not affect its bytes; `None` keeps the present value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DocumentPatch {
    /// New title given by the caller.
    pub title: Option<String>,
    /// New key-value pairs, which replace all present ones.
    pub metadata: Option<BoundedMetadata>,
    /// New readers; the tenant must stay the same.
    pub acl: Option<Acl>,
    /// New department; `Some(None)` removes it.
    pub department_id: Option<Option<String>>,
    /// New source URL; `Some(None)` removes it.
    pub source_url: Option<Option<SourceUrl>>,
}

/// Conditions for listing documents; `None` does not restrict.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DocumentFilter {
    /// With exactly this URI.
    pub uri: Option<String>,
    /// Only documents of this source.
    pub source: Option<SourceName>,
    /// Only documents of this collection.
    pub collection: Option<CollectionName>,
    /// Only documents with this status.
    pub status: Option<DocumentStatus>,
    /// Published by the pipeline with this fingerprint.
    pub made_by: Option<String>,
    /// Published by a pipeline with another fingerprint.
    pub not_made_by: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListPage<T> {
    /// Items of this page, in the order of the list.
    pub items: Vec<T>,
    /// Cursor of the next page; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// Documents of a source that have a `last_error`, without tombstoned ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedDocuments {
    /// Number of such documents.
    pub count: u64,
    /// URI and error of the first of them.
    pub first: Vec<(String, JobError)>,
}

/// Position and size of a requested page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// `next_cursor` of the previous page; `None` for the first page.
    pub cursor: Option<String>,
    /// Most items of the page, 1 to 1,000.
    pub limit: usize,
}

/// Stores documents and jobs. Callers pass the time; a store with its own clock, shared by all its processes, may use
/// that in place of [`ClockReading::steady`].
#[async_trait]
pub trait Catalogue: super::ConsistencyScan + super::AttachmentStore + super::ManifestStore {
    /// Writes a version and its job in one transaction, and cancels the document's older jobs. `scope` is the writer's:
    /// `UriTaken` if it may not write the document with this URI, `NameTaken` if the document has other bytes and the
    /// version may not replace them.
    async fn begin_version(
        &self,
        scope: &Scope,
        version: NewVersion,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome>;

    /// Queues a new version of the published bytes for another pipeline. The worker copies the original of the
    /// published generation; if a newer version failed, hash, size and name are reset to the published ones. `None` if
    /// `scope` does not admit the document, it has no published version, or it has a live job.
    async fn queue_reingest(
        &self,
        scope: &Scope,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;

    /// Changes metadata, title or readers; `None` if `scope` does not admit the document. Refuses a caller who may read
    /// but not write it, and one who adds or removes a reader that it may not grant.
    async fn patch_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        patch: DocumentPatch,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Document>>;

    /// Tombstones a document and queues its purge in one transaction; `None` if `scope` does not admit it. Refuses a
    /// caller who may read but not write it.
    async fn tombstone_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;

    /// Claims a queued job for `worker` and draws a new generation for it; `None` if no job is ready. Tenants and
    /// sources take turns; within one of them the oldest job comes first. The lease ends after `lease` unless it is
    /// extended. Jobs with expired leases are queued again before anything is claimed.
    ///
    /// A job whose process died (a suspect) is claimed only when no other job is ready, or after [`SUSPECT_TURNS`]
    /// others went first, and only while its process runs nothing else. Until it ends or passes the point of the death,
    /// its process claims nothing beside it. After [`MAX_DEATHS`] deaths the claim has [`ClaimedJob::poisoned`] set.
    async fn claim_job(
        &self,
        worker: WorkerId,
        lease: Duration,
        now: ClockReading,
    ) -> CatalogueResult<Option<ClaimedJob>>;

    /// Extends a lease to `extend` from now; returns the time since the job last recorded progress.
    async fn extend_lease(&self, lease: &JobLease, extend: Duration, now: ClockReading) -> CatalogueResult<Duration>;

    /// Called once at process start, before the first claim: queues the jobs that ran when the last process ended as
    /// suspects and restarts waits on this process's clock, none longer than before. Returns the number of those jobs.
    async fn requeue_interrupted_jobs(&self, now: ClockReading) -> CatalogueResult<u64>;

    /// Returns a job to its place in the queue because its worker shuts down; it counts as neither attempt nor failure.
    async fn release_job(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()>;

    /// Records that the version's bytes are at the final key of the lease's generation.
    async fn mark_original_stored(&self, lease: &JobLease) -> CatalogueResult<()>;

    /// Location of the newest begun version's bytes; `None` if the document is gone or tombstoned.
    async fn locate_original(&self, document: DocumentId) -> CatalogueResult<Option<OriginalLocation>>;

    /// Records the progress of a job. Within an attempt neither stage nor count decreases.
    async fn record_progress(&self, lease: &JobLease, progress: JobProgress, now: ClockReading) -> CatalogueResult<()>;

    /// Publishes the generation by one row update, applies its statistics and ends the job.
    async fn publish_version(
        &self,
        lease: &JobLease,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> CatalogueResult<PublishOutcome>;

    /// Ends a job as failed. A document with a published version stays published and gets `last_error`.
    async fn fail_job(&self, lease: &JobLease, error: JobError, now: OffsetDateTime) -> CatalogueResult<()>;

    /// Queues a job again after an error; it is not claimed before `wait` has passed.
    async fn schedule_retry(
        &self,
        lease: &JobLease,
        error: JobError,
        wait: RetryDelay,
        now: ClockReading,
    ) -> CatalogueResult<()>;

    /// Ends a purge and removes the document's row and statistics.
    async fn finish_purge(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()>;

    /// Queues a failed or cancelled job again with its attempts reset, unless a newer version of its document was
    /// begun; for a batch, all such children. `None` if `scope` does not admit its document.
    async fn requeue_job(
        &self,
        scope: &Scope,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<RequeueOutcome>>;

    /// Cancels a job that has not ended; for a batch, every child that `scope` admits. `None` if `scope` does not admit
    /// its document.
    async fn cancel_job(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Job>>;

    /// A document that `scope` admits and that is not tombstoned.
    async fn get_document(&self, scope: &Scope, document: DocumentId) -> CatalogueResult<Option<Document>>;

    /// Documents that `scope` admits, oldest first, tombstoned ones left out.
    async fn list_documents(
        &self,
        scope: &Scope,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<Document>>;

    /// The documents of a source whose newest version failed, whoever may read them; `limit` of them are named, oldest
    /// first. Only for managers of the source.
    async fn list_failed_documents(
        &self,
        tenant: &TenantId,
        source: &SourceName,
        limit: usize,
    ) -> CatalogueResult<FailedDocuments>;

    /// Every tenant that has documents, in order. Only for maintenance of the whole library.
    async fn list_tenants(&self) -> CatalogueResult<Vec<TenantId>>;

    /// These documents, of any tenant and ACL, without tombstoned ones. Only for workers, never for a caller.
    async fn documents_unchecked(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Document>>;

    /// Who may read these documents, of any tenant and ACL, without tombstoned ones, in no guaranteed order; from
    /// memory or by one query. Only for the check of every hit in `library`.
    async fn get_document_access(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentAccess>>;

    /// Title, URI and address of those documents that `scope` admits, without tombstoned ones, in no guaranteed order.
    async fn get_document_labels(&self, scope: &Scope, documents: &[DocumentId])
    -> CatalogueResult<Vec<DocumentLabel>>;

    /// A job whose document `scope` admits.
    async fn get_job(&self, scope: &Scope, job: JobId) -> CatalogueResult<Option<Job>>;

    /// Jobs whose documents `scope` admits, newest first.
    async fn list_jobs(&self, scope: &Scope, filter: &JobFilter, page: &PageRequest) -> CatalogueResult<ListPage<Job>>;

    /// Number of jobs of the tenant by state, without batches.
    async fn count_jobs(&self, tenant: &TenantId) -> CatalogueResult<JobCounts>;

    /// Removes jobs that ended before `before`, at most `most` of them and as many batches; returns how many. A batch
    /// is removed with its children once all of them may go. The last failed or cancelled job of an existing document
    /// is kept, because it can be retried.
    async fn remove_ended_jobs(&self, before: OffsetDateTime, most: usize) -> CatalogueResult<u64>;

    /// Document frequencies of the given terms over the tenant's published chunks.
    async fn term_statistics(&self, tenant: &TenantId, terms: &[TermId]) -> CatalogueResult<TermStatistics>;

    /// Document frequencies of the given wordpieces, in order, over the tenant's published chunks.
    async fn piece_frequencies(&self, tenant: &TenantId, pieces: &[u32]) -> CatalogueResult<Vec<u64>>;

    /// A small value of the installation, such as the active index spec or a calibration.
    async fn get_setting(&self, key: &str) -> CatalogueResult<Option<String>>;

    /// Stores a small value for `get_setting`.
    async fn set_setting(&self, key: &str, value: &str) -> CatalogueResult<()>;
}
