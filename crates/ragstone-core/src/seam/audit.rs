//! What the catalogue's rows name, for whoever compares them with index and blobs.
//!
//! Invariant: a generation that no row names and no live job covers is never named later, for each claim draws a new
//! one. So whoever lists what is stored first and reads the rows afterwards may remove what they do not explain.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::CatalogueResult;
use super::manifest::Stamp;
use crate::document::{DocumentStatus, Job, JobKind};
use crate::id::{DocumentId, Generation, JobId, TenantId};

/// What the rows of one document name, tombstoned or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
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
    pub stamp: Stamp,
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
pub enum Explained {
    /// A row names it.
    Named,
    /// A live job writes it, or will purge it.
    Pending,
    /// Nothing does.
    Orphan,
}

impl Named {
    /// Whether its document is to be found.
    pub fn lives(&self) -> bool {
        self.status != DocumentStatus::Deleting
    }

    /// Whether a live job makes a version of it.
    pub fn is_being_made(&self) -> bool {
        self.jobs.iter().any(|job| job.kind == JobKind::Ingest)
    }

    /// Whether a later generation than this one is published.
    pub fn has_replaced(&self, generation: Generation) -> bool {
        self.lives() && self.published > Some(generation)
    }

    /// Where the bytes of the newest begin wait, if they do.
    pub fn waiting(&self) -> Option<&str> {
        (self.stored.is_none() && !self.incoming.is_empty()).then_some(&self.incoming)
    }

    /// How points of `generation` stand to the rows.
    pub fn explains_points(&self, generation: Generation) -> Explained {
        match self.lives() && self.published == Some(generation) {
            true => Explained::Named,
            false => self.covered(generation),
        }
    }

    /// How blobs of `generation` stand to the rows.
    pub fn explains_blobs(&self, generation: Generation) -> Explained {
        match self.lives() && (self.published == Some(generation) || self.stored == Some(generation)) {
            true => Explained::Named,
            false => self.covered(generation),
        }
    }

    /// An ingestion purges everything before its own generation when it publishes.
    fn covered(&self, generation: Generation) -> Explained {
        let covers = |job: &LiveJob| job.kind == JobKind::Ingest || generation < job.generation;
        match self.jobs.iter().any(covers) {
            true => Explained::Pending,
            false => Explained::Orphan,
        }
    }
}

/// What `fsck` and the sweep ask of a catalogue. Whatever the tenant: it is for whoever keeps the installation, and no
/// caller's answer is made of it.
#[async_trait]
pub trait Audit: Send + Sync {
    /// What the rows of the documents after `after` name, in order of id, at most `limit`.
    async fn named_after(&self, after: Option<DocumentId>, limit: usize) -> CatalogueResult<Vec<Named>>;

    /// What the rows of these documents name; documents without a row are left out.
    async fn named(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Named>>;

    /// Queues what a document lacks: a purge if it is tombstoned, else a version of its published bytes by `pipeline`.
    /// None if there is neither, or a job of it is live.
    async fn queue_again(
        &self,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>>;

    /// The tenants whose term statistics are not the sum of what their published generations add.
    async fn miscounted(&self) -> CatalogueResult<Vec<TenantId>>;

    /// Counts the term statistics of every tenant again.
    async fn recount(&self) -> CatalogueResult<()>;

    /// The highest generation that was ever drawn, for any document; zero before the first. Read after a blob of a
    /// generation was seen, it is at least that one, unless the rows are older than the blobs.
    async fn highest_generation(&self) -> CatalogueResult<Generation>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(status: DocumentStatus, jobs: &[(JobKind, u64)]) -> Named {
        Named {
            document: DocumentId(uuid::Uuid::nil()),
            tenant: TenantId::default(),
            status,
            published: Some(Generation(5)),
            chunks: 1,
            counted: Some(1),
            stored: Some(Generation(7)),
            incoming: "incoming/x".into(),
            given_title: None,
            stamp: Stamp {
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
        use Explained::{Named, Orphan, Pending};
        let check = |row: super::Named, points: [Explained; 4], blobs: [Explained; 4]| {
            for (at, generation) in [4, 5, 7, 9].into_iter().map(Generation).enumerate() {
                assert_eq!(
                    (row.explains_points(generation), row.explains_blobs(generation)),
                    (points[at], blobs[at]),
                    "{generation} of {row:?}"
                );
            }
        };
        check(
            named(Published, &[]),
            [Orphan, Named, Orphan, Orphan],
            [Orphan, Named, Named, Orphan],
        );
        check(
            named(Published, &[(JobKind::Ingest, 7)]),
            [Pending, Named, Pending, Pending],
            [Pending, Named, Named, Pending],
        );
        check(
            named(Published, &[(JobKind::Purge, 5)]),
            [Pending, Named, Orphan, Orphan],
            [Pending, Named, Named, Orphan],
        );
        check(
            named(Deleting, &[(JobKind::Purge, 8)]),
            [Pending, Pending, Pending, Orphan],
            [Pending, Pending, Pending, Orphan],
        );
        check(named(Deleting, &[]), [Orphan; 4], [Orphan; 4]);
    }
}
