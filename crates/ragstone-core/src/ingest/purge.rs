//! Removing what nobody may see any more.
//!
//! Invariant: acts on single generations, all of them older than the one its lease drew, so the purge of an old life
//! never touches a new one.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use super::arrival::IncomingFiles;
use super::attached::MailAttachments;
use super::context::IngestContext;
use super::embedding::CachedEmbedder;
use super::keep::LeaseKeeper;
use super::manifest::ManifestWriter;
use super::marker::GenerationMarker;
use super::trouble::StepError;
use crate::document::{DocumentStatus, JobKind, JobStage};
use crate::id::Generation;
use crate::library::layout::BlobKey;
use crate::library::text::text_key;
use crate::seam::audit::{DocumentRefs, Reference};
use crate::seam::catalogue::{ClaimedJob, OriginalLocation};

/// Removes deleted documents, older versions, and what attempts left.
pub(super) struct Purger {
    pub(super) context: Arc<IngestContext>,
    pub(super) leases: Arc<LeaseKeeper>,
    pub(super) incoming: Arc<IncomingFiles>,
    pub(super) attachments: Arc<MailAttachments>,
    pub(super) embeddings: Arc<CachedEmbedder>,
    pub(super) manifests: Arc<ManifestWriter>,
    pub(super) marker: Arc<GenerationMarker>,
}

impl Purger {
    /// Removes everything of a tombstoned document.
    pub(super) async fn purge_document(&self, claim: &ClaimedJob) -> Result<(), StepError> {
        self.leases.report_progress(&claim.lease, JobStage::Purge, 0, 1).await?;
        if let (DocumentStatus::Deleting, OriginalLocation::Incoming(key)) = (claim.document.status, &claim.original) {
            self.incoming.remove_incoming(&Path::from(key.as_str())).await;
        }
        self.leases
            .uncancellable(&claim.lease, self.attachments.remove_all_attachments(claim))
            .await?;
        self.leases
            .uncancellable(&claim.lease, self.remove_older_generations(claim))
            .await?;
        self.embeddings.forget_embeddings(claim.lease.document).await?;
        self.context
            .stores
            .catalogue
            .finish_purge(&claim.lease, self.context.now())
            .await?;
        self.manifests.remove_deletion_note(claim).await;
        self.marker.record_generation(claim.lease.generation).await;
        Ok(())
    }

    /// Removes points and blobs of every generation before the lease's.
    pub(super) async fn remove_older_generations(&self, claim: &ClaimedJob) -> Result<(), StepError> {
        let lease = &claim.lease;
        for ((document, generation), _) in self.context.stores.index.list_generations(Some(lease.document)).await? {
            if generation < lease.generation {
                self.context
                    .stores
                    .index
                    .delete_generation(document, generation)
                    .await?;
            }
        }
        for (key, generation) in self.list_document_blobs(claim).await? {
            if generation < lease.generation {
                self.context.remove_blob(&key).await?;
            }
        }
        Ok(())
    }

    /// Removes the points of earlier attempts, whose workers may have died before they could.
    pub(super) async fn remove_stray_points(&self, claim: &ClaimedJob) -> Result<(), StepError> {
        let lease = &claim.lease;
        for ((document, generation), _) in self.context.stores.index.list_generations(Some(lease.document)).await? {
            if generation < lease.generation && Some(generation) != claim.document.published {
                self.context
                    .stores
                    .index
                    .delete_generation(document, generation)
                    .await?;
            }
        }
        Ok(())
    }

    /// Removes the points that this attempt wrote, and whatever no row explains; the text stays for the next attempt.
    pub(super) async fn remove_attempt_points(&self, claim: &ClaimedJob) {
        self.remove_attempt_data(claim, false).await;
    }

    /// Removes everything that this attempt wrote but the original, where that is the one the catalogue names.
    pub(super) async fn remove_attempt(&self, claim: &ClaimedJob) {
        self.remove_attempt_data(claim, true).await;
    }

    /// Removes what this attempt of an ingestion and those before it wrote, but for what a row names. Called before the row
    /// says that the job ended: who dies in between leaves a job that is tried again, and nothing that no row explains.
    /// Best effort.
    pub(super) async fn remove_all_attempts(&self, claim: &ClaimedJob) {
        if claim.job.kind != JobKind::Ingest {
            return;
        }
        if let Err(trouble) = self.try_remove_all_attempts(claim).await {
            let (document, error) = (claim.lease.document, trouble.error.detail);
            tracing::warn!(%document, error, "what failed attempts wrote is left");
        }
    }

    async fn try_remove_all_attempts(&self, claim: &ClaimedJob) -> Result<(), StepError> {
        let (id, own) = (claim.lease.document, claim.lease.generation);
        let (points, blobs) = (
            self.context.stores.index.list_generations(Some(id)).await?,
            self.list_document_blobs(claim).await?,
        );
        let row = self.context.stores.catalogue.get_document_refs(&[id]).await?.pop();
        let is_named = |explains: fn(&DocumentRefs, Generation) -> Reference, generation| {
            row.as_ref()
                .is_some_and(|row| explains(row, generation) == Reference::Live)
        };
        for ((document, generation), _) in points {
            if generation <= own && !is_named(DocumentRefs::classify_points, generation) {
                self.context
                    .stores
                    .index
                    .delete_generation(document, generation)
                    .await?;
            }
        }
        for (key, generation) in blobs {
            // The note that a document was deleted goes with its purge, after everything that it is about.
            if let BlobKey::Deleted(..) = BlobKey::from_path(&key) {
                continue;
            }
            // Only a published version has a text and a manifest that are named; the original is where the row says.
            let is_made = key.filename() == Some("text") || matches!(BlobKey::from_path(&key), BlobKey::Manifest(..));
            let explains = match is_made {
                true => DocumentRefs::classify_points,
                false => DocumentRefs::classify_blobs,
            };
            if generation <= own && !is_named(explains, generation) {
                self.context.remove_blob(&key).await?;
            }
        }
        Ok(())
    }

    /// Best effort; the sweep finds the rest.
    async fn remove_attempt_data(&self, claim: &ClaimedJob, with_files: bool) {
        if let Err(trouble) = self.try_remove_attempt_data(claim, with_files).await {
            let (document, error) = (claim.lease.document, trouble.error.detail);
            tracing::warn!(%document, error, "what an attempt wrote is left");
        }
        self.embeddings.forget_if_deleted(claim.lease.document).await;
    }

    /// The rows are asked because the answer to a publish may have been lost.
    async fn try_remove_attempt_data(&self, claim: &ClaimedJob, with_files: bool) -> Result<(), StepError> {
        let (id, own) = (claim.lease.document, claim.lease.generation);
        let points = self.context.stores.index.list_generations(Some(id)).await?;
        let blobs = self.list_document_blobs(claim).await?;
        let row = self.context.stores.catalogue.get_document_refs(&[id]).await?.pop();
        if row
            .as_ref()
            .is_some_and(|row| row.is_live() && row.published == Some(own))
        {
            // Its manifest was not looked at again, and an older version's may know of readers who were taken away.
            self.manifests.update_manifest(id).await?;
        }
        let goes = |explains: fn(&DocumentRefs, Generation) -> Reference, generation, is_own| match &row {
            Some(row) => match explains(row, generation) {
                Reference::Live => false,
                Reference::Pending => is_own,
                Reference::Orphan => true,
            },
            None => true,
        };
        for ((document, generation), _) in points {
            if goes(DocumentRefs::classify_points, generation, generation == own) {
                self.context
                    .stores
                    .index
                    .delete_generation(document, generation)
                    .await?;
            }
        }
        let text = text_key(&claim.document.acl.tenant, id, own);
        for (key, generation) in blobs {
            // The note that a document was deleted goes with its purge, after everything that it is about.
            if let BlobKey::Deleted(..) = BlobKey::from_path(&key) {
                continue;
            }
            let is_record = matches!(BlobKey::from_path(&key), BlobKey::Manifest(..));
            let is_own = (with_files || is_record) && generation == own;
            // A manifest of what is not published would be taken for one of what is.
            let explains = match is_record || is_own && key == text {
                true => DocumentRefs::classify_points,
                false => DocumentRefs::classify_blobs,
            };
            if goes(explains, generation, is_own) {
                self.context.remove_blob(&key).await?;
            }
        }
        match &claim.original {
            OriginalLocation::Incoming(key) if row.as_ref().and_then(DocumentRefs::incoming_key) != Some(key) => {
                Ok(self.context.remove_blob(&Path::from(key.as_str())).await?)
            }
            _ => Ok(()),
        }
    }

    /// The claim's document's blobs with their generations.
    async fn list_document_blobs(&self, claim: &ClaimedJob) -> Result<Vec<(Path, Generation)>, StepError> {
        let document = claim.lease.document.to_string();
        let prefix = Path::from_iter([claim.document.acl.tenant.as_str(), &document]);
        let blobs: &dyn ObjectStore = self.context.stores.blobs.as_ref();
        let found: Vec<_> = blobs.list(Some(&prefix)).try_collect().await?;
        let generation = |key: &Path| key.parts().nth(2).and_then(|part| part.as_ref().parse().ok());
        let named = found.into_iter().filter_map(|blob| {
            let generation = generation(&blob.location)?;
            Some((blob.location, Generation(generation)))
        });
        let mut named: Vec<_> = named.collect();
        // Whoever dies over their removal leaves no manifest of what is half gone, and of what is deleted the note as
        // long as anything is left.
        named.sort_by_key(|(key, _)| match BlobKey::from_path(key) {
            BlobKey::Manifest(..) => 0,
            BlobKey::Deleted(..) => 2,
            _ => 1,
        });
        Ok(named)
    }
}
