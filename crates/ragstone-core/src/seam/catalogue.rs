//! The truth about documents and jobs.
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

/// What a caller hands in: one version of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVersion {
    /// The collection.
    pub collection: CollectionName,
    /// The source.
    pub source: SourceName,
    /// The document's name within the source; with tenant, collection and source its identity.
    pub uri: String,
    /// Whether it may take the place of other bytes.
    pub may_replace: bool,
    /// The file name, which with the bytes decides the type.
    pub name: String,
    /// A title given by the caller; none lets the file or its name decide.
    pub title: Option<String>,
    /// What the sender says the bytes are; a hint.
    pub declared_media_type: Option<String>,
    /// Who may read it.
    pub acl: Acl,
    /// Who brings it, to be noted of a document's first version ([`Scope::creator_subject`]).
    pub brought_by: Option<String>,
    /// The department it was given to, if any.
    pub department_id: Option<String>,
    /// The caller's key-value pairs.
    pub metadata: DocumentMetadata,
    /// Where a person can open it.
    pub source_url: Option<SourceUrl>,
    /// BLAKE3 of the bytes.
    pub content_hash: ContentHash,
    /// How many bytes.
    pub bytes: u64,
    /// Where the accepted bytes wait in the blob store.
    pub incoming: String,
    /// The pipeline that will make chunks of it; another one than the published version's is a new version.
    pub pipeline: String,
    /// The batch its job is part of; begun with the first version that names it.
    pub batch: Option<JobId>,
}

impl NewVersion {
    /// The document this is a version of.
    pub fn document_id(&self) -> DocumentId {
        DocumentId::from_uri(&self.acl.tenant, &self.collection, &self.source, &self.uri)
    }

    /// The document as its first version begins it; its title is the catalogue's to say.
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

    /// Makes a living document's next version pending; the published one goes on answering.
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

/// What `begin` did.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one for each request; nobody keeps many")]
pub enum BeginOutcome {
    /// Everything is equal to the newest `begin`, which is pending or published: nothing was done.
    Unchanged(Document),
    /// Same bytes, other title, metadata, source URL or readers: they hold from now on, nothing is embedded.
    Updated(Document),
    /// A new version is pending; older jobs of the document are cancelled.
    Started(Document, Job),
}

/// What one generation adds to the tenant's term statistics; taken off again when it is replaced or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatisticsDelta {
    /// Its chunks.
    pub chunks: u64,
    /// In how many of them each term stands.
    pub terms: Vec<(TermId, u32)>,
    /// In how many of them each wordpiece of the embedder stands.
    pub pieces: Vec<(u32, u32)>,
}

/// What a worker made of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedVersion {
    /// The title: the caller's, else the file's, else its name.
    pub title: String,
    /// What name and bytes showed.
    pub media_type: String,
    /// Pages, where the format has pages.
    pub pages: Option<u32>,
    /// Chunks.
    pub chunks: u32,
    /// What the parser warned of.
    pub warnings: Vec<ParseWarning>,
    /// The pipeline that made it.
    pub pipeline: String,
    /// What it adds to the statistics.
    pub statistics: StatisticsDelta,
}

impl PublishedVersion {
    /// Makes `generation` the document's published one; gives the one that was.
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

/// What publishing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOutcome {
    /// The generation that was published before and is to be purged.
    pub replaced: Option<Generation>,
    /// The ACL revision at the flip; newer than the points' one means their payload is updated again.
    pub acl_revision: u64,
}

/// Changes to a document that touch no bytes; `None` leaves as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DocumentPatch {
    /// Another title.
    pub title: Option<String>,
    /// Other key-value pairs, all of them.
    pub metadata: Option<BoundedMetadata>,
    /// Other readers.
    pub acl: Option<Acl>,
    /// Another department.
    pub department_id: Option<Option<String>>,
    /// Another URL.
    pub source_url: Option<Option<SourceUrl>>,
}

/// Which documents are listed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DocumentFilter {
    /// Exactly this URI.
    pub uri: Option<String>,
    /// Of this source.
    pub source: Option<SourceName>,
    /// Of this collection.
    pub collection: Option<CollectionName>,
    /// In this state.
    pub status: Option<DocumentStatus>,
    /// Published by this pipeline.
    pub made_by: Option<String>,
    /// Published by another pipeline than this one.
    pub not_made_by: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListPage<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; none at the end.
    pub next_cursor: Option<String>,
}

/// Documents of a source that have a `last_error`, tombstoned ones left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedDocuments {
    /// How many there are.
    pub count: u64,
    /// The first ones: their URIs and what went wrong.
    pub first: Vec<(String, JobError)>,
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// What the last page said; none for the first.
    pub cursor: Option<String>,
    /// Most items, 1 to 1,000.
    pub limit: usize,
}

/// The truth about documents and jobs. Times are given by the caller; a store with a clock of its own that all its
/// processes share may use that in place of [`ClockReading::steady`].
#[async_trait]
pub trait Catalogue: super::ConsistencyScan + super::AttachmentStore + super::ManifestStore {
    /// Writes a version and its job in one transaction, and cancels the document's older jobs. `scope` is the
    /// writer's: a URI of a document that it may not write is taken, and so is the name of one with other bytes, unless the
    /// version may replace them.
    async fn begin_version(
        &self,
        scope: &Scope,
        version: NewVersion,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome>;

    /// Queues a new version of the published bytes for another pipeline: the worker copies the original from the published
    /// generation, and hash, size and name are that one's again if a newer version failed. None if `scope` does not admit the document, it has no published version, or a job of it is live.
    async fn queue_reingest(
        &self,
        scope: &Scope,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;

    /// Changes what touches no bytes; none if `scope` does not admit the document. A caller who may read and not write it
    /// is refused, and so is one who gives or takes away a reader that it may not grant.
    async fn patch_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        patch: DocumentPatch,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Document>>;

    /// Tombstones a document and queues its purge, in one transaction; none if `scope` does not admit it. A caller who
    /// may read and not write it is refused.
    async fn tombstone_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;

    /// Takes a queued job for `worker` and draws a new generation for it; none if nothing waits. Tenants and sources
    /// take turns, and within one of them the oldest job comes first. The lease runs out after `lease` unless a
    /// heartbeat extends it; a job whose lease ran out is queued again before anything is taken.
    ///
    /// A job whose process died (a suspect) is taken once no other is ready, or has let [`SUSPECT_TURNS`] of them go
    /// first, and only while its process works on nothing else; until it ended or got further than it was at the death,
    /// that process takes nothing beside it. After [`MAX_DEATHS`] the claim says that it is [`ClaimedJob::poisoned`].
    async fn claim_job(
        &self,
        worker: WorkerId,
        lease: Duration,
        now: ClockReading,
    ) -> CatalogueResult<Option<ClaimedJob>>;

    /// Extends a lease to `extend` from now; says how long ago its job last noted progress.
    async fn extend_lease(&self, lease: &JobLease, extend: Duration, now: ClockReading) -> CatalogueResult<Duration>;

    /// Called once as a process starts, before its first claim: what ran when the last process ended is queued again as
    /// suspect, and waits are counted from this process's start, none longer than it was. Says how many jobs ran.
    async fn requeue_interrupted_jobs(&self, now: ClockReading) -> CatalogueResult<u64>;

    /// Puts a job whose worker is told to stop back in its old place; nothing is spent.
    async fn release_job(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()>;

    /// Notes that the version's bytes are at the final key of the lease's generation.
    async fn mark_original_stored(&self, lease: &JobLease) -> CatalogueResult<()>;

    /// Where the bytes of the newest begin lie; none if the document is gone or tombstoned.
    async fn locate_original(&self, document: DocumentId) -> CatalogueResult<Option<OriginalLocation>>;

    /// Notes how far a job is. Within an attempt neither stage nor count goes back.
    async fn record_progress(&self, lease: &JobLease, progress: JobProgress, now: ClockReading) -> CatalogueResult<()>;

    /// Flips the published generation in one row, applies the statistics and ends the job.
    async fn publish_version(
        &self,
        lease: &JobLease,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> CatalogueResult<PublishOutcome>;

    /// Ends a job for good. A document that has a published version stays published, with `last_error`.
    async fn fail_job(&self, lease: &JobLease, error: JobError, now: OffsetDateTime) -> CatalogueResult<()>;

    /// Puts a job back into the queue after an error, not to be claimed before `wait` has passed.
    async fn schedule_retry(
        &self,
        lease: &JobLease,
        error: JobError,
        wait: RetryDelay,
        now: ClockReading,
    ) -> CatalogueResult<()>;

    /// Ends a purge: the document's row and statistics are gone.
    async fn finish_purge(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()>;

    /// Queues a job that failed or was cancelled again, its attempts counted anew, if its document was not begun again
    /// meanwhile; of a batch, every such child. None if `scope` does not admit its document.
    async fn requeue_job(
        &self,
        scope: &Scope,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<RequeueOutcome>>;

    /// Cancels a job that is not final, and of a batch every child that `scope` admits; none if `scope` does not admit
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

    /// The documents of a source whose newest version could not be published, whoever may read them: for those who
    /// manage the source, and for nothing else. `limit` of them are named, oldest first.
    async fn list_failed_documents(
        &self,
        tenant: &TenantId,
        source: &SourceName,
        limit: usize,
    ) -> CatalogueResult<FailedDocuments>;

    /// Every tenant that has documents, in order: for the upkeep of the whole library, and for nothing else.
    async fn list_tenants(&self) -> CatalogueResult<Vec<TenantId>>;

    /// These documents, whatever their tenant and ACL, tombstoned ones left out: for workers, and for nothing that is shown
    /// to a caller.
    async fn documents_unchecked(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Document>>;

    /// Who may read these documents, whatever their tenant and ACL, tombstoned ones left out, in no promised order: what
    /// `library` checks every hit against, from memory or in one query. For nothing else.
    async fn get_document_access(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentAccess>>;

    /// How those of these documents are named that `scope` admits, tombstoned ones left out, in no promised order.
    async fn get_document_labels(&self, scope: &Scope, documents: &[DocumentId])
    -> CatalogueResult<Vec<DocumentLabel>>;

    /// A job whose document `scope` admits.
    async fn get_job(&self, scope: &Scope, job: JobId) -> CatalogueResult<Option<Job>>;

    /// Jobs whose documents `scope` admits, newest first.
    async fn list_jobs(&self, scope: &Scope, filter: &JobFilter, page: &PageRequest) -> CatalogueResult<ListPage<Job>>;

    /// How many jobs of the tenant are in each state, batches left out.
    async fn count_jobs(&self, tenant: &TenantId) -> CatalogueResult<JobCounts>;

    /// Removes jobs that ended before `before`, at most `most` of them and as many batches, and says how many went. A batch
    /// goes with its children, once all of them may. What failed or was cancelled last of a document that is there stays:
    /// it can be driven again.
    async fn remove_ended_jobs(&self, before: OffsetDateTime, most: usize) -> CatalogueResult<u64>;

    /// Document frequencies of the given terms over the tenant's published chunks.
    async fn term_statistics(&self, tenant: &TenantId, terms: &[TermId]) -> CatalogueResult<TermStatistics>;

    /// Document frequencies of the given wordpieces, in order, over the tenant's published chunks.
    async fn piece_frequencies(&self, tenant: &TenantId, pieces: &[u32]) -> CatalogueResult<Vec<u64>>;

    /// A small value of the installation (the active index spec, a calibration).
    async fn get_setting(&self, key: &str) -> CatalogueResult<Option<String>>;

    /// Stores a small value.
    async fn set_setting(&self, key: &str, value: &str) -> CatalogueResult<()>;
}
