//! The truth about documents and jobs.
//!
//! Invariant: a document and its job are written in one transaction; every write of a worker carries its lease and
//! changes nothing once the lease is stale; a tombstoned document is never published again under the same generation.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::access::{Acl, Scope};
use crate::document::{
    Document, DocumentStatus, Job, JobError, JobKind, JobState, Metadata, ParseWarning, Stage,
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
    /// The file name, which with the bytes decides the type.
    pub name: String,
    /// A title given by the caller; none lets the file or its name decide.
    pub title: Option<String>,
    /// What the sender says the bytes are; a hint.
    pub declared_media_type: Option<String>,
    /// Who may read it.
    pub acl: Acl,
    /// The department it was given to, if any.
    pub department_id: Option<String>,
    /// The caller's key-value pairs.
    pub metadata: Metadata,
    /// Where a person can open it.
    pub source_url: Option<String>,
    /// BLAKE3 of the bytes.
    pub content_hash: ContentHash,
    /// How many bytes.
    pub bytes: u64,
    /// Where the accepted bytes wait in the blob store.
    pub incoming: String,
    /// The pipeline that will make chunks of it; another one than the published version's is a new version.
    pub pipeline: String,
}

impl NewVersion {
    /// The document this is a version of.
    pub fn document_id(&self) -> DocumentId {
        DocumentId::of(&self.acl.tenant, &self.collection, &self.source, &self.uri)
    }
}

/// What `begin` did.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// Everything is equal to the newest `begin`, which is pending or published: nothing was done.
    Unchanged(Document),
    /// Same bytes, other title, metadata, source URL or readers: they hold from now on, nothing is embedded.
    Updated(Document),
    /// A new version is pending; older jobs of the document are cancelled.
    Started(Document, Job),
}

/// The right to write for one job; stale as soon as another attempt, a cancel or a newer version exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Which attempt holds it.
    pub attempt: u32,
    /// The document.
    pub document: DocumentId,
    /// The generation this attempt writes, drawn when it was claimed.
    pub generation: Generation,
}

/// A claimed job with everything its worker needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The right to write.
    pub lease: Lease,
    /// The job.
    pub job: Job,
    /// The document as it stands.
    pub document: Document,
    /// File name of the version to ingest.
    pub name: String,
    /// The caller's title, if any.
    pub given_title: Option<String>,
    /// The declared media type, if any.
    pub declared_media_type: Option<String>,
    /// Where the original lies: the accepted bytes until the first attempt moved them, then the generation that has them.
    pub original: Original,
}

/// Where a job finds the bytes of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Original {
    /// At this key, where they were accepted.
    Incoming(String),
    /// At the final key of this generation.
    Stored(Generation),
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub stage: Stage,
    /// Units done.
    pub done: u64,
    /// Units in all, 0 while unknown.
    pub total: u64,
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

/// What publishing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flipped {
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
    pub metadata: Option<Metadata>,
    /// Other readers.
    pub acl: Option<Acl>,
    /// Another department.
    pub department_id: Option<Option<String>>,
    /// Another URL.
    pub source_url: Option<Option<String>>,
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
}

/// Which jobs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<JobKind>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; none at the end.
    pub next_cursor: Option<String>,
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// What the last page said; none for the first.
    pub cursor: Option<String>,
    /// Most items, 1 to 1,000.
    pub limit: usize,
}

/// Why the catalogue did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogueError {
    /// It is down, locked or out of disk; may pass.
    #[error("the catalogue is unavailable: {detail}")]
    Unavailable {
        /// What went wrong.
        detail: String,
    },
    /// Its disk is full; passes once there is room.
    #[error("the catalogue's disk is full: {detail}")]
    Full {
        /// What went wrong.
        detail: String,
    },
    /// The URI belongs to a document that this caller may not read or write.
    #[error("the uri is taken")]
    UriTaken,
    /// The lease is stale: somebody else has the job, or it was cancelled. Write nothing more.
    #[error("the lease is stale")]
    Stale,
    /// A cursor that no list gave.
    #[error("the cursor is not one that a list gave")]
    BadCursor,
    /// What is stored cannot be read.
    #[error("the catalogue is damaged: {detail}")]
    Damaged {
        /// What was found.
        detail: String,
    },
}

/// A catalogue call's answer.
pub type CatalogueResult<T> = Result<T, CatalogueError>;

/// The truth about documents and jobs. Times are given by the caller.
#[async_trait]
pub trait Catalogue: super::Audit {
    /// Writes a version and its job in one transaction, and cancels the document's older jobs. `scope` is the
    /// writer's: a URI of a document outside of it is taken.
    async fn begin(
        &self,
        scope: &Scope,
        version: NewVersion,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Begun>;

    /// Queues a new version of the same bytes for another pipeline: the worker copies the original from the published
    /// generation. None if `scope` does not admit the document, it has no published version, or a job of it is live.
    async fn reingest(
        &self,
        scope: &Scope,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;

    /// Changes what touches no bytes; none if `scope` does not admit the document.
    async fn patch(
        &self,
        scope: &Scope,
        document: DocumentId,
        patch: DocumentPatch,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Document>>;

    /// Tombstones a document and queues its purge, in one transaction; none if `scope` does not admit it.
    async fn tombstone(
        &self,
        scope: &Scope,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;

    /// Takes the oldest queued job and draws a new generation for it; none if nothing waits.
    async fn claim(&self, now: OffsetDateTime) -> CatalogueResult<Option<Claim>>;

    /// Puts the jobs that were running when the last process ended back into the queue; says how many.
    async fn take_back(&self, now: OffsetDateTime) -> CatalogueResult<u64>;

    /// Notes that the version's bytes are at the final key of the lease's generation.
    async fn stored(&self, lease: &Lease) -> CatalogueResult<()>;

    /// Notes how far a job is.
    async fn progress(&self, lease: &Lease, progress: Progress, now: OffsetDateTime) -> CatalogueResult<()>;

    /// Flips the published generation in one row, applies the statistics and ends the job.
    async fn publish(
        &self,
        lease: &Lease,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> CatalogueResult<Flipped>;

    /// Ends a job for good. A document that has a published version stays published, with `last_error`.
    async fn fail(&self, lease: &Lease, error: JobError, now: OffsetDateTime) -> CatalogueResult<()>;

    /// Puts a job back into the queue, not to be claimed before `not_before`.
    async fn retry(
        &self,
        lease: &Lease,
        error: JobError,
        not_before: OffsetDateTime,
        now: OffsetDateTime,
    ) -> CatalogueResult<()>;

    /// Ends a purge: the document's row and statistics are gone.
    async fn purged(&self, lease: &Lease, now: OffsetDateTime) -> CatalogueResult<()>;

    /// Cancels a job that is not final; none if `scope` does not admit its document.
    async fn cancel(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Job>>;

    /// A document that `scope` admits and that is not tombstoned.
    async fn document(&self, scope: &Scope, document: DocumentId) -> CatalogueResult<Option<Document>>;

    /// Documents that `scope` admits, oldest first, tombstoned ones left out.
    async fn documents(
        &self,
        scope: &Scope,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> CatalogueResult<Page<Document>>;

    /// How these documents stand, whatever their tenant and ACL, tombstoned ones left out: what `library` checks every
    /// hit against, in one query. For nothing else.
    async fn standing(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Document>>;

    /// A job whose document `scope` admits.
    async fn job(&self, scope: &Scope, job: JobId) -> CatalogueResult<Option<Job>>;

    /// Jobs whose documents `scope` admits, newest first.
    async fn jobs(&self, scope: &Scope, filter: &JobFilter, page: &PageRequest)
    -> CatalogueResult<Page<Job>>;

    /// Document frequencies of the given terms over the tenant's published chunks.
    async fn term_statistics(&self, tenant: &TenantId, terms: &[TermId]) -> CatalogueResult<TermStatistics>;

    /// Document frequencies of the given wordpieces, in order, over the tenant's published chunks.
    async fn piece_frequencies(&self, tenant: &TenantId, pieces: &[u32]) -> CatalogueResult<Vec<u64>>;

    /// A small value of the installation (the active index spec, a calibration).
    async fn setting(&self, key: &str) -> CatalogueResult<Option<String>>;

    /// Stores a small value.
    async fn set_setting(&self, key: &str, value: &str) -> CatalogueResult<()>;
}
