//! The story of one document: load, parse, split, embed batch by batch, publish.
//!
//! Memory does not follow the file: text goes to the store page by page while it is parsed and comes back page by page
//! to be split. A format without pages is one page, so there it follows the text, which `parse.max_text_bytes` bounds.
//!
//! Invariant: nothing is visible before `publish`, which is one row in the catalogue, and every step may be repeated.

use std::sync::Arc;

use time::OffsetDateTime;

use super::arrival::IncomingFiles;
use super::attached::MailAttachments;
use super::context::IngestContext;
use super::embedding::{CachedEmbedder, EmbeddingCacheStats};
use super::keep::LeaseKeeper;
use super::manifest::ManifestWriter;
use super::marker::GenerationMarker;
use super::point_access::PointAccess;
use super::purge::Purger;
use super::trouble::StepError;
use crate::document::{DocumentOutline, JobStage};
use crate::seam::catalogue::{ClaimedJob, PublishedVersion};

/// Makes versions of documents: parses, splits, embeds, stores and publishes.
pub struct DocumentPipeline {
    pub(super) context: Arc<IngestContext>,
    pub(super) leases: Arc<LeaseKeeper>,
    pub(super) incoming: Arc<IncomingFiles>,
    pub(super) attachments: Arc<MailAttachments>,
    pub(super) embeddings: Arc<CachedEmbedder>,
    pub(super) manifests: Arc<ManifestWriter>,
    pub(super) access: Arc<PointAccess>,
    pub(super) purger: Arc<Purger>,
    pub(super) marker: Arc<GenerationMarker>,
}

impl DocumentPipeline {
    /// load -> parse -> split -> embed and store -> publish.
    pub(super) async fn ingest_document(&self, claim: &ClaimedJob) -> Result<(), StepError> {
        let pipeline = self.context.pipeline();
        if claim.lease.attempt > 1 {
            self.purger.remove_stray_points(claim).await?;
        }
        self.leases.report_progress(&claim.lease, JobStage::Load, 0, 1).await?;
        self.leases
            .uncancellable(&claim.lease, self.store_original(claim))
            .await?;
        let text = self.parse_document(claim).await?;
        let title = choose_title(claim, text.outline());
        let chunks = self.count_chunks(claim, &pipeline, &text).await?;
        let (statistics, vectors) = self.embed_and_store(claim, &pipeline, &text, &title, chunks).await?;
        self.leases
            .report_progress(&claim.lease, JobStage::Publish, 0, 1)
            .await?;
        self.leases
            .uncancellable(
                &claim.lease,
                self.attachments.remove_stale_attachments(claim, text.outline()),
            )
            .await?;
        let version = PublishedVersion {
            title,
            media_type: text.media_type().to_owned(),
            pages: text.pages().iter().filter_map(|span| span.page).max(),
            chunks,
            warnings: [text.outline().warnings.clone(), vectors.into_warnings()].concat(),
            pipeline: pipeline.fingerprint().to_owned(),
            statistics,
        };
        let now = self.context.now();
        self.leases
            .uncancellable(&claim.lease, self.publish_version(claim, version, now))
            .await
    }

    /// The manifest first, so that no version is ever published without one; points visible, then one row flips, then
    /// everything older goes.
    pub(super) async fn publish_version(
        &self,
        claim: &ClaimedJob,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> Result<(), StepError> {
        let lease = &claim.lease;
        let manifest = self.manifests.put_manifest(claim, &version, now).await?;
        self.context
            .stores
            .index
            .publish_generation(lease.document, lease.generation)
            .await?;
        let flipped = self
            .context
            .stores
            .catalogue
            .publish_version(lease, version, now)
            .await?;
        self.marker.record_generation(lease.generation).await;
        if flipped.acl_revision != claim.document.acl_revision {
            self.access.reload_point_access(claim).await;
        }
        // The older version's manifest may be the one that knows of readers who were taken away meanwhile.
        let removed = match self.manifests.confirm_manifest(&manifest).await {
            Ok(()) => self.purger.remove_older_generations(claim).await,
            Err(error) => Err(error.into()),
        };
        if let Err(trouble) = removed {
            tracing::warn!(document = %lease.document, error = %trouble.error.detail, "older version not purged yet");
        }
        Ok(())
    }

    /// What the embedding cache was good for.
    pub fn embedding_cache_stats(&self) -> &EmbeddingCacheStats {
        self.embeddings.embedding_cache_stats()
    }
}

/// The caller's title, else the file's own, else its name without the extension.
fn choose_title(claim: &ClaimedJob, outline: &DocumentOutline) -> String {
    let own = outline.title.clone().filter(|title| !title.trim().is_empty());
    let title = claim.given_title.clone().or(own);
    title.unwrap_or_else(|| claim.file_stem().to_owned())
}
