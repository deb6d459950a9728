//! What the catalogue's rows name, for whoever compares them with index and blobs.
//!
//! Invariant: a generation that no row names and no live job covers is never named later, for each claim draws a new
//! one. So whoever lists what is stored first and reads the rows afterwards may remove what they do not explain.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::CatalogueResult;
use super::manifest::RevisionStamp;
use crate::document::{DocumentStatus, Job, JobKind};
use crate::id::{DocumentId, Generation, JobId, TenantId};

/// What the rows of one document name, tombstoned or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRefs {
    /// The document.
    pub document: DocumentId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Where it stands.
    pub status: DocumentStatus,
    /// The published generation, if any.
    pub published: Option<Generation>,
    /// Chunks of the published generation.
    pub chunks: u32,
    /// Chunks that the term statistics count for the published generation, if they count it.
    pub counted: Option<u64>,
    /// The generation whose final key holds the bytes of the newest begin; none while they wait.
    pub stored: Option<Generation>,
    /// Where they wait until then.
    pub incoming: String,
    /// The title that the caller of the newest begin gave.
    pub given_title: Option<String>,
    /// How new the document's state is.
    pub stamp: RevisionStamp,
    /// Its jobs that are not final.
    pub jobs: Vec<LiveJob>,
}

/// A job that is not final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveJob {
    /// What it is for.
    pub kind: JobKind,
    /// What it wrote last, or the first generation that its purge leaves alone.
    pub generation: Generation,
}

/// How a stored thing stands to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// A row names it.
    Live,
    /// A live job writes it, or will purge it.
    Pending,
    /// Nothing does.
    Orphan,
}

impl DocumentRefs {
    /// Whether its document is to be found.
    pub fn is_live(&self) -> bool {
        self.status != DocumentStatus::Deleting
    }

    /// Whether a live job makes a version of it.
    pub fn is_being_ingested(&self) -> bool {
        self.jobs.iter().any(|job| job.kind == JobKind::Ingest)
    }

    /// Whether a later generation than this one is published.
    pub fn has_replaced(&self, generation: Generation) -> bool {
        self.is_live() && self.published > Some(generation)
    }

    /// Where the bytes of the newest begin wait, if they do.
    pub fn incoming_key(&self) -> Option<&str> {
        (self.stored.is_none() && !self.incoming.is_empty()).then_some(&self.incoming)
    }

    /// How points of `generation` stand to the rows.
    pub fn classify_points(&self, generation: Generation) -> Reference {
        match self.is_live() && self.published == Some(generation) {
            true => Reference::Live,
            false => self.classify_by_jobs(generation),
        }
    }

    /// How blobs of `generation` stand to the rows.
    pub fn classify_blobs(&self, generation: Generation) -> Reference {
        match self.is_live() && (self.published == Some(generation) || self.stored == Some(generation)) {
            true => Reference::Live,
            false => self.classify_by_jobs(generation),
        }
    }

    /// An ingestion purges everything before its own generation when it publishes.
    fn classify_by_jobs(&self, generation: Generation) -> Reference {
        let covers = |job: &LiveJob| job.kind == JobKind::Ingest || generation < job.generation;
        match self.jobs.iter().any(covers) {
            true => Reference::Pending,
            false => Reference::Orphan,
        }
    }
}

/// What `fsck` and the sweep ask of a catalogue. Whatever the tenant: it is for whoever keeps the installation, and no
/// caller's answer is made of it.
#[async_trait]
pub trait ConsistencyScan: Send + Sync {
    /// What the rows of the documents after `after` name, in order of id, at most `limit`.
    async fn list_document_refs(&self, after: Option<DocumentId>, limit: usize) -> CatalogueResult<Vec<DocumentRefs>>;

    /// What the rows of these documents name; documents without a row are left out.
    async fn get_document_refs(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentRefs>>;

    /// Queues what a document lacks: a purge if it is tombstoned, else a version of its published bytes by `pipeline`.
    /// None if there is neither, or a job of it is live.
    async fn queue_repair(
        &self,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;

    /// The tenants whose term statistics are not the sum of what their published generations add.
    async fn find_miscounted_tenants(&self) -> CatalogueResult<Vec<TenantId>>;

    /// Counts the term statistics of every tenant again.
    async fn recount_term_statistics(&self) -> CatalogueResult<()>;

    /// The highest generation that was ever drawn, for any document; zero before the first. Read after a blob of a
    /// generation was seen, it is at least that one, unless the rows are older than the blobs.
    async fn highest_generation(&self) -> CatalogueResult<Generation>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(status: DocumentStatus, jobs: &[(JobKind, u64)]) -> DocumentRefs {
        DocumentRefs {
            document: DocumentId(uuid::Uuid::nil()),
            tenant: TenantId::default(),
            status,
            published: Some(Generation(5)),
            chunks: 1,
            counted: Some(1),
            stored: Some(Generation(7)),
            incoming: "incoming/x".into(),
            given_title: None,
            stamp: RevisionStamp {
                revision: 1,
                updated: 0,
            },
            jobs: jobs
                .iter()
                .map(|&(kind, generation)| LiveJob {
                    kind,
                    generation: Generation(generation),
                })
                .collect(),
        }
    }

    #[test]
    fn rows_name_and_jobs_cover() {
        use DocumentStatus::{Deleting, Published};
        use Reference::{Live, Orphan, Pending};
        let check = |row: super::DocumentRefs, points: [Reference; 4], blobs: [Reference; 4]| {
            for (at, generation) in [4, 5, 7, 9].into_iter().map(Generation).enumerate() {
                assert_eq!(
                    (row.classify_points(generation), row.classify_blobs(generation)),
                    (points[at], blobs[at]),
                    "{generation} of {row:?}"
                );
            }
        };
        check(
            named(Published, &[]),
            [Orphan, Live, Orphan, Orphan],
            [Orphan, Live, Live, Orphan],
        );
        check(
            named(Published, &[(JobKind::Ingest, 7)]),
            [Pending, Live, Pending, Pending],
            [Pending, Live, Live, Pending],
        );
        check(
            named(Published, &[(JobKind::Purge, 5)]),
            [Pending, Live, Orphan, Orphan],
            [Pending, Live, Live, Orphan],
        );
        check(
            named(Deleting, &[(JobKind::Purge, 8)]),
            [Pending, Pending, Pending, Orphan],
            [Pending, Pending, Pending, Orphan],
        );
        check(named(Deleting, &[]), [Orphan; 4], [Orphan; 4]);
    }
}
