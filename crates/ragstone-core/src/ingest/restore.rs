//! Putting a packed version in: its bytes, text and points as they are, and publish. Nothing is parsed or embedded.
//!
//! Invariant: whoever dies over it leaves an accepted document with its job, which any worker can finish from its
//! original; who fails leaves nothing of it.

use std::io;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::accept::Uploads;
use super::arrival::{AcceptError, IncomingFiles};
use super::context::IngestContext;
use super::documents::DocumentPipeline;
use super::keep::{Interruption, LeaseKeeper};
use super::manifest::ManifestWriter;
use super::marker::GenerationMarker;
use super::purge::Purger;
use super::trouble::{RetryPolicy, StepError};
use crate::access::Principal;
use crate::document::{JobStage, WorkerId};
use crate::id::{JobId, PointId};
use crate::library::blob::BlobWriter;
use crate::library::text::text_key;
use crate::seam::catalogue::{ClaimedJob, PublishedVersion};
use crate::seam::index::IndexPoint;
use crate::seam::portable::{
    BeginImportOutcome, ExportStore, ExportedChunk, ExportedContent, ExportedVersion, LeaseHolder,
};
use crate::seam::{CatalogueError, IndexError};

/// What came of putting a version in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionImportOutcome {
    /// It answers.
    Published,
    /// The library had the same.
    Unchanged,
    /// The library has another one, which stays.
    SkippedExisting,
}

/// Why a version was not put in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VersionImportError {
    /// The archive is not what it says.
    #[error("{0}")]
    Damaged(String),
    /// Its bytes could not be kept.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The catalogue refused or failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A step did not work.
    #[error("{0}")]
    Step(String),
}

/// Puts exported versions in, and makes a catalogue again from the blob store.
pub struct Importer {
    pub(super) context: Arc<IngestContext>,
    pub(super) leases: Arc<LeaseKeeper>,
    pub(super) incoming: Arc<IncomingFiles>,
    pub(super) uploads: Arc<Uploads>,
    pub(super) documents: Arc<DocumentPipeline>,
    pub(super) purger: Arc<Purger>,
    pub(super) manifests: Arc<ManifestWriter>,
    pub(super) marker: Arc<GenerationMarker>,
}

impl Importer {
    /// Puts a version in, unless the library has the document. Its readers are the packed ones, to the letter.
    pub async fn import_version(
        &self,
        portable: &dyn ExportStore,
        principal: &Principal,
        packed: &ExportedVersion,
        parcel: &dyn ExportedContent,
        worker: WorkerId,
    ) -> Result<VersionImportOutcome, VersionImportError> {
        if !packed.has_correct_id() || packed.acl.tenant != *principal.tenant() {
            let detail = format!("document {} is not the one that its URI names", packed.id);
            return Err(VersionImportError::Damaged(detail));
        }
        if let Some(excess) = packed.describe_excess() {
            return Err(VersionImportError::Damaged(format!("document {}: {excess}", packed.id)));
        }
        if let Some(held) = portable.export_version(packed.id).await? {
            return Ok(match held.is_same(packed) {
                true => VersionImportOutcome::Unchanged,
                false => VersionImportOutcome::SkippedExisting,
            });
        }
        let received = self.incoming.receive_file(&packed.name, parcel.read_original()).await?;
        if received.content_hash() != packed.content_hash {
            self.incoming.discard_received(received).await?;
            let detail = format!("the original of document {} is not the one it was made of", packed.id);
            return Err(VersionImportError::Damaged(detail));
        }
        let holder = LeaseHolder {
            worker,
            lease: self.context.settings.lease,
            now: self.context.current_moment(),
        };
        let before = self
            .context
            .stores
            .catalogue
            .get_document_refs(&[packed.id])
            .await
            .unwrap_or_default();
        let job = JobId(self.context.new_id());
        let incoming = received.incoming_key().to_owned();
        let unpacked = portable
            .begin_import(&principal.scope(), packed, &incoming, job, holder)
            .await;
        let claim = match unpacked {
            Ok(BeginImportOutcome::Begun(claim)) => claim,
            Ok(other) => {
                self.incoming.discard_received(received).await?;
                return Ok(match other {
                    BeginImportOutcome::SkippedExisting => VersionImportOutcome::SkippedExisting,
                    _ => VersionImportOutcome::Unchanged,
                });
            }
            Err(error) => {
                self.incoming.discard_if_unreferenced(packed.id, received).await;
                return Err(error.into());
            }
        };
        // What an earlier try brought is nobody's any more.
        self.incoming.remove_waiting_uploads(&before).await;
        let work = self.import_contents(&claim, packed, parcel);
        match self.leases.with_lease(&claim.lease, work, std::future::pending()).await {
            Ok(()) => Ok(VersionImportOutcome::Published),
            Err(left) => Err(self.roll_back_import(principal, &claim, left).await),
        }
    }

    async fn import_contents(
        &self,
        claim: &ClaimedJob,
        packed: &ExportedVersion,
        parcel: &dyn ExportedContent,
    ) -> Result<(), StepError> {
        let lease = &claim.lease;
        self.leases
            .uncancellable(lease, self.documents.store_original(claim))
            .await?;
        self.leases
            .uncancellable(lease, self.import_text(claim, parcel))
            .await?;
        let total = u64::from(packed.chunks);
        self.leases.report_progress(lease, JobStage::Embed, 0, total).await?;
        let (mut chunks, mut done) = (parcel.read_chunks(), 0_u64);
        while let Some(batch) = chunks.try_next().await.map_err(unreadable_archive)? {
            let points: Result<Vec<IndexPoint>, StepError> = (done..)
                .zip(batch)
                .map(|(n, chunk)| build_imported_point(claim, n, chunk))
                .collect();
            let points = points?;
            done += points.len() as u64;
            self.leases
                .uncancellable(lease, self.context.stores.index.upsert_points(points))
                .await?;
            self.leases.report_progress(lease, JobStage::Embed, done, total).await?;
        }
        if done != total {
            let detail = format!("document {} has {done} chunks, not {total}", packed.id);
            return Err(unreadable_archive(io::Error::other(detail)));
        }
        self.leases.report_progress(lease, JobStage::Publish, 0, 1).await?;
        let version = PublishedVersion {
            title: packed.title.clone(),
            media_type: packed.media_type.clone(),
            pages: packed.pages,
            chunks: packed.chunks,
            warnings: packed.warnings.clone(),
            pipeline: packed.pipeline.clone(),
            statistics: packed.statistics.clone(),
        };
        self.leases
            .uncancellable(lease, self.documents.publish_version(claim, version, packed.updated_at))
            .await
    }

    async fn import_text(&self, claim: &ClaimedJob, parcel: &dyn ExportedContent) -> Result<(), StepError> {
        let (lease, tenant) = (&claim.lease, &claim.document.acl.tenant);
        let key = text_key(tenant, lease.document, lease.generation);
        let mut blob = BlobWriter::new(self.context.stores.blobs.as_ref(), key);
        let mut pieces = parcel.read_text();
        while let Some(piece) = pieces.next().await {
            let written = match piece {
                Ok(piece) => blob.write(&piece).await.map_err(StepError::from),
                Err(error) => Err(unreadable_archive(error)),
            };
            if let Err(trouble) = written {
                blob.abort().await;
                return Err(trouble);
            }
        }
        Ok(blob.finish().await?)
    }

    /// Cancels what was begun, and leaves nothing of it.
    async fn roll_back_import(
        &self,
        principal: &Principal,
        claim: &ClaimedJob,
        left: Interruption,
    ) -> VersionImportError {
        let why = match left {
            Interruption::Failed(trouble) => trouble.error.detail,
            Interruption::Shutdown => "it was told to stop".into(),
        };
        let now = self.context.now();
        let cancelled = self
            .context
            .stores
            .catalogue
            .cancel_job(&principal.scope(), claim.lease.job, now)
            .await;
        if let Err(error) = cancelled {
            tracing::warn!(document = %claim.lease.document, %error, "a job is left to the workers");
        }
        self.purger.remove_attempt(claim).await;
        VersionImportError::Step(why)
    }
}

fn unreadable_archive(error: io::Error) -> StepError {
    StepError::new("archive_unreadable", error, "export it again", RetryPolicy::Never)
}

/// What follows from the document is the document's: who reads it above all.
fn build_imported_point(claim: &ClaimedJob, ordinal: u64, packed: ExportedChunk) -> Result<IndexPoint, StepError> {
    let (document, lease, chunk) = (&claim.document, &claim.lease, packed.chunk);
    if chunk.document_id != lease.document || u64::from(chunk.ordinal) != ordinal {
        let detail = format!("chunk {ordinal} of document {} is another one", lease.document);
        return Err(unreadable_archive(io::Error::other(detail)));
    }
    Ok(IndexPoint {
        id: PointId::from_chunk(chunk.id, lease.generation),
        chunk,
        collection: document.collection.clone(),
        generation: lease.generation,
        acl: document.acl.clone(),
        acl_revision: document.acl_revision,
        fields: document.filter_fields(),
        dense: packed.dense,
        lexical: packed.lexical,
        gate: packed.gate,
        tokens: packed.tokens,
    })
}
