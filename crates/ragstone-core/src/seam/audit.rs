//! The consistency scan: which documents, generations and blobs the catalogue's rows refer to, for comparison with the
//! index and the blob store.
//!
//! Invariant: a generation that no row refers to and that no live job covers is never referred to later, because each
//! claim draws a new one. So it is safe to list what is stored first, read the rows afterwards, and remove what the
//! rows do not explain.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::CatalogueResult;
use super::manifest::RevisionStamp;
use crate::document::{DocumentStatus, Job, JobKind};
use crate::id::{DocumentId, Generation, JobId, TenantId};

/// What the rows of one document refer to, tombstoned or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRefs {
    /// Id of the document.
    pub document: DocumentId,
    /// Tenant of the document.
    pub tenant: TenantId,
    /// The document's status; `Deleting` means it is tombstoned.
    pub status: DocumentStatus,
    /// The published generation; `None` if there is none.
    pub published: Option<Generation>,
    /// Number of chunks of the published generation.
    pub chunks: u32,
    /// Chunks that the term statistics count for the published generation; `None` if they do not count it.
    pub counted: Option<u64>,
    /// The generation whose final key holds the bytes of the newest begun version; `None` while they are still at
    /// `incoming`.
    pub stored: Option<Generation>,
    /// Blob key of the accepted bytes until they are moved to their final key.
    pub incoming: String,
    /// The title that the caller gave with the newest begun version, if any.
    pub given_title: Option<String>,
    /// Revision and time of the document's state, to compare it with manifests.
    pub stamp: RevisionStamp,
    /// The document's jobs that have not ended.
    pub jobs: Vec<LiveJob>,
}

/// A job that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveJob {
    /// Whether the job ingests or purges.
    pub kind: JobKind,
    /// The generation that the job wrote last; for a purge, the first generation that it keeps.
    pub generation: Generation,
}

/// How the rows refer to a stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// A row refers to it.
    Live,
    /// A live job is writing it or will purge it.
    Pending,
    /// Neither a row nor a live job refers to it: it may be removed.
    Orphan,
}

impl DocumentRefs {
    /// Whether the document can be found, that is, is not tombstoned.
    pub fn is_live(&self) -> bool {
        self.status != DocumentStatus::Deleting
    }

    /// Whether a live job is ingesting a version of it.
    pub fn is_being_ingested(&self) -> bool {
        self.jobs.iter().any(|job| job.kind == JobKind::Ingest)
    }

    /// Whether a generation later than `generation` is published.
    pub fn has_replaced(&self, generation: Generation) -> bool {
        self.is_live() && self.published > Some(generation)
    }

    /// Blob key of the newest begun version's bytes, while they are not yet at their final key.
    pub fn incoming_key(&self) -> Option<&str> {
        (self.stored.is_none() && !self.incoming.is_empty()).then_some(&self.incoming)
    }

    /// How the rows refer to the points of `generation`.
    pub fn classify_points(&self, generation: Generation) -> Reference {
        match self.is_live() && self.published == Some(generation) {
            true => Reference::Live,
            false => self.classify_by_jobs(generation),
        }
    }

    /// How the rows refer to the blobs of `generation`.
    pub fn classify_blobs(&self, generation: Generation) -> Reference {
        match self.is_live() && (self.published == Some(generation) || self.stored == Some(generation)) {
            true => Reference::Live,
            false => self.classify_by_jobs(generation),
        }
    }

    /// An ingestion covers every generation: when it publishes, it purges all generations before its own.
    fn classify_by_jobs(&self, generation: Generation) -> Reference {
        let covers = |job: &LiveJob| job.kind == JobKind::Ingest || generation < job.generation;
        match self.jobs.iter().any(covers) {
            true => Reference::Pending,
            false => Reference::Orphan,
        }
    }
}

/// Catalogue queries for `fsck` and the orphan sweep. They cross tenants: they are for operating the installation, and
/// no caller's answer may be built from them.
#[async_trait]
pub trait ConsistencyScan: Send + Sync {
    /// The references of the documents after `after`, in order of id, at most `limit`.
    async fn list_document_refs(&self, after: Option<DocumentId>, limit: usize) -> CatalogueResult<Vec<DocumentRefs>>;

    /// The references of these documents; documents without a row are left out.
    async fn get_document_refs(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentRefs>>;

    /// Queues the job that a document needs: a purge if it is tombstoned, else a new version of its published bytes by
    /// `pipeline`. `None` if neither applies or the document has a live job.
    async fn queue_repair(
        &self,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;

    /// Tenants whose term statistics differ from the sum over their published generations.
    async fn find_miscounted_tenants(&self) -> CatalogueResult<Vec<TenantId>>;

    /// Recomputes the term statistics of every tenant.
    async fn recount_term_statistics(&self) -> CatalogueResult<()>;

    /// The highest generation ever drawn for any document; zero before the first. If it is read after a blob was
    /// listed, it is at least that blob's generation, unless the rows were restored from an older backup than the
    /// blobs.
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
