//! `fsck`: catalogue, index and blobs compared both ways, the embedding cache one way, and made to agree again.
//!
//! Invariant: it never touches what a live lease may still write. What is stored is listed before the rows are read, so
//! nothing is taken for an orphan because it was stored meanwhile; what a row names and is missing is looked at twice.
//! Blobs are taken last, when all have been seen. Memory holds ids and keys, never rows or points.

mod blobs;
mod cache;
mod points;
mod quarantine;
mod rows;
mod sweep;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
pub use sweep::UploadSharing;
use time::OffsetDateTime;

use super::arrival::IncomingFiles;
use super::context::IngestContext;
use super::manifest::{ManifestError, ManifestWriter};
use crate::id::{DocumentId, Generation, JobId};
use crate::seam::audit::DocumentRefs;
use crate::seam::embedding_cache::EmbeddingCacheError;
use crate::seam::index::DocumentGeneration;
use crate::seam::manifest::RevisionStamp;
use crate::seam::{CatalogueError, IndexError};

/// Rows, generations and blobs looked at together.
const BATCH: usize = 500;
/// Most findings that are told one by one; the rest are counted.
const MAX_FINDINGS: usize = 100;
/// How old a blob that no row explains must be before it is removed.
pub const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is done about what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepairOptions {
    /// Points and embeddings that nothing explains are removed, and tombstoned documents purged to the end.
    pub remove_orphans: bool,
    /// Blobs that nothing explains are put into quarantine from this age on. One that a later published version replaced
    /// is removed at any age.
    pub min_blob_age: Option<Duration>,
    /// Accepted bytes that nothing explains are put into quarantine from this age on.
    pub min_incoming_age: Option<Duration>,
    /// Blobs that nothing explains are taken however many they are.
    pub allow_many: bool,
    /// Documents that lack points, text or statistics are queued to be made again, and sums that are wrong counted again.
    pub rebuild_missing: bool,
}

impl RepairOptions {
    /// Everything; blobs from this age on.
    pub fn repair_all(older_than: Duration) -> Self {
        Self {
            remove_orphans: true,
            min_blob_age: Some(older_than),
            min_incoming_age: Some(older_than),
            allow_many: false,
            rebuild_missing: true,
        }
    }
}

/// Numbers by the store that they are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FsckCounts {
    /// Points.
    pub index: u64,
    /// Blobs.
    pub blobs: u64,
    /// Documents that lack something, and tenants whose statistics are wrong.
    pub catalogue: u64,
    /// Documents of which the embedding cache holds something; left out where there are none, as it is a copy of copies.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl FsckCounts {
    /// Whether all are zero.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What does not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Points of a generation that no row names.
    OrphanPoints,
    /// A blob that no row names.
    OrphanBlob,
    /// A published version with fewer points than chunks.
    PointsMissing,
    /// A published version without its text.
    TextMissing,
    /// A version without its original; only another upload brings it back.
    OriginalMissing,
    /// A published version that the term statistics do not count, or count differently.
    NotCounted,
    /// A deleted document whose purge ended before its time.
    PurgeUnfinished,
    /// A tenant whose term statistics are not the sum of its documents'.
    Miscounted,
    /// Embeddings of a document that is gone.
    OrphanEmbeddings,
}

/// One thing that does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FsckFinding {
    /// What.
    pub kind: FindingKind,
    /// Which: a document with its generation, a blob's key, a tenant.
    pub what: String,
    /// Whether something was done about it.
    pub repaired: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FsckReport {
    /// Documents that are not tombstoned.
    pub documents: u64,
    /// Chunks of their published versions.
    pub chunks: u64,
    /// What does not agree and was left.
    pub orphans: FsckCounts,
    /// What a live job will purge or make, and uploads that may be under way.
    pub pending: FsckCounts,
    /// What was repaired.
    pub repaired: u64,
    /// The first hundred of what does not agree.
    pub findings: Vec<FsckFinding>,
    /// Jobs that were queued to repair something.
    pub jobs: Vec<JobId>,
}

impl FsckReport {
    fn add_finding(&mut self, kind: FindingKind, what: String, amount: u64, repaired: bool) {
        use FindingKind::{OrphanBlob, OrphanEmbeddings, OrphanPoints};
        let left = match kind {
            _ if repaired => &mut self.repaired,
            OrphanPoints => &mut self.orphans.index,
            OrphanBlob => &mut self.orphans.blobs,
            OrphanEmbeddings => &mut self.orphans.cache,
            _ => &mut self.orphans.catalogue,
        };
        *left += amount;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(FsckFinding { kind, what, repaired });
        }
    }
}

/// Why the stores could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The blob store failed.
    #[error("the blob store failed: {0}")]
    Blobs(#[from] object_store::Error),
    /// The catalogue is of an earlier time than the blobs, and cannot tell which of them are nobody's.
    #[error(
        "the database is older than the blobs: it has come to generation {catalogue}, and they to generation {blobs}; \
         nothing is removed; hint: stop, put the newest database back, or make it again with `ragstone recover`"
    )]
    Older {
        /// The highest generation of the catalogue.
        catalogue: Generation,
        /// The highest one among the blobs.
        blobs: Generation,
    },
    /// The readers of a document are of an earlier time than its manifest.
    #[error(
        "the database is older than the blobs: the readers of document {document} were changed since; nothing is \
         removed; hint: stop, put the newest database back, or make it again with `ragstone recover`"
    )]
    OlderReaders {
        /// The document.
        document: DocumentId,
    },
    /// A manifest could not be written.
    #[error("a manifest could not be written: {0}")]
    Manifest(#[from] ManifestError),
    /// The catalogue explains so little that it may be the wrong one.
    #[error(
        "{unexplained} of {blobs} blobs are explained by no row, which is more than leftovers are; none of them is \
         moved; hint: `ragstone fsck` lists them; if they are nobody's, `ragstone fsck --repair --allow-many`"
    )]
    TooMany {
        /// Blobs that no row explains.
        unexplained: u64,
        /// Originals and texts in the store.
        blobs: u64,
    },
    /// The embedding cache failed.
    #[error("{0}; hint: `cache.db` in the data directory may be deleted while nothing runs")]
    Cache(#[from] EmbeddingCacheError),
}

/// One comparison on its way.
struct FsckRun {
    remedies: RepairOptions,
    uploads: UploadSharing,
    now: OffsetDateTime,
    report: FsckReport,
    /// Points of each generation.
    points: HashMap<DocumentGeneration, u64>,
    /// Which generations have an original, and which a text.
    originals: HashSet<DocumentGeneration>,
    texts: HashSet<DocumentGeneration>,
    /// The newest manifest of each published generation.
    manifests: HashMap<DocumentGeneration, RevisionStamp>,
    /// Manifests that were brought up to their rows.
    recorded: u64,
    /// Accepted bytes, of which the rows have not explained these yet.
    incoming: HashMap<String, blobs::IncomingBlob>,
    /// Blobs to take in the end.
    leftovers: quarantine::LeftoverBlobs,
    /// Blobs that were put into quarantine.
    quarantined: u64,
}

impl FsckRun {
    fn new(remedies: RepairOptions, uploads: UploadSharing, now: OffsetDateTime) -> Self {
        Self {
            remedies,
            uploads,
            now,
            report: FsckReport::default(),
            points: HashMap::new(),
            originals: HashSet::new(),
            texts: HashSet::new(),
            manifests: HashMap::new(),
            recorded: 0,
            incoming: HashMap::new(),
            leftovers: quarantine::LeftoverBlobs::default(),
            quarantined: 0,
        }
    }
}

/// Compares the stores with one another, and repairs.
pub struct ConsistencyCheck {
    context: Arc<IngestContext>,
    incoming: Arc<IncomingFiles>,
    rows: rows::RowCheck,
}

impl ConsistencyCheck {
    pub(super) fn new(
        context: &Arc<IngestContext>,
        incoming: &Arc<IncomingFiles>,
        manifests: &Arc<ManifestWriter>,
    ) -> Self {
        Self {
            context: context.clone(),
            incoming: incoming.clone(),
            rows: rows::RowCheck::new(context, manifests),
        }
    }

    /// Compares the stores and does what `remedies` say. Where `uploads` are shared, accepted bytes that are young may be
    /// those of another process, and count as pending.
    pub async fn run_fsck(&self, remedies: RepairOptions, uploads: UploadSharing) -> Result<FsckReport, FsckError> {
        let mut check = FsckRun::new(remedies, uploads, self.context.now());
        self.compare_stores(&mut check).await?;
        self.check_statistics(&mut check).await?;
        Ok(check.report)
    }

    /// Everything but the sums of the term statistics, which are as long as all vocabularies.
    async fn compare_stores(&self, check: &mut FsckRun) -> Result<(), FsckError> {
        self.list_incoming(check).await?;
        // Blobs first: they show whether the rows can be trusted to explain anything.
        self.check_blobs(check).await?;
        self.check_points(check).await?;
        self.rows.check_rows(check).await?;
        self.check_incoming(check).await?;
        self.check_cache(check).await?;
        if check.recorded > 0 {
            tracing::info!(documents = check.recorded, "manifests are brought up to the database");
        }
        self.remove_leftovers(check).await
    }

    /// The rows of these documents by id.
    async fn load_rows(
        &self,
        documents: impl IntoIterator<Item = DocumentId>,
    ) -> Result<HashMap<DocumentId, DocumentRefs>, CatalogueError> {
        let ids: HashSet<_> = documents.into_iter().collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let rows = self.context.stores.catalogue.get_document_refs(&ids).await?;
        Ok(rows.into_iter().map(|row| (row.document, row)).collect())
    }

    /// The sums of the term statistics.
    async fn check_statistics(&self, check: &mut FsckRun) -> Result<(), FsckError> {
        let tenants = self.context.stores.catalogue.find_miscounted_tenants().await?;
        if check.remedies.rebuild_missing && !tenants.is_empty() {
            self.context.stores.catalogue.recount_term_statistics().await?;
        }
        for tenant in tenants {
            let what = format!("tenant {tenant}");
            check
                .report
                .add_finding(FindingKind::Miscounted, what, 1, check.remedies.rebuild_missing);
        }
        Ok(())
    }
}

fn describe_generation((document, generation): (DocumentId, Generation)) -> String {
    format!("document {document}, generation {generation}")
}

#[cfg(test)]
mod tests;
