//! Removing what nobody may see any more.
//!
//! Invariant: acts on single generations, all of them older than the one its lease drew, so the purge of an old life
//! never touches a new one.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Ingestor, Trouble};
use crate::document::{Document, DocumentStatus, JobKind, Stage};
use crate::id::Generation;
use crate::library::layout::BlobKey;
use crate::library::text::text_key;
use crate::seam::audit::{Explained, Named};
use crate::seam::catalogue::{Claim, Original};

impl Ingestor {
    /// Removes everything of a tombstoned document.
    pub(super) async fn purge(&self, claim: &Claim) -> Result<(), Trouble> {
        self.note(&claim.lease, Stage::Purge, 0, 1).await?;
        if let (DocumentStatus::Deleting, Original::Incoming(key)) = (claim.document.status, &claim.original) {
            self.remove_incoming(&Path::from(key.as_str())).await;
        }
        self.whole(&claim.lease, self.detach_all(claim)).await?;
        self.whole(&claim.lease, self.remove_older(claim)).await?;
        self.forget_embeddings(claim.lease.document).await?;
        self.stores.catalogue.purged(&claim.lease, (self.clock)()).await?;
        self.forget_deleted(claim).await;
        self.reached(claim.lease.generation).await;
        Ok(())
    }

    /// Removes points and blobs of every generation before the lease's.
    pub(super) async fn remove_older(&self, claim: &Claim) -> Result<(), Trouble> {
        let lease = &claim.lease;
        for ((document, generation), _) in self.stores.index.generations(Some(lease.document)).await? {
            if generation < lease.generation {
                self.stores.index.delete(document, generation).await?;
            }
        }
        for (key, generation) in self.blobs_of(claim).await? {
            if generation < lease.generation {
                self.remove_blob(&key).await?;
            }
        }
        Ok(())
    }

    /// Removes the points of earlier attempts, whose workers may have died before they could.
    pub(super) async fn remove_strays(&self, claim: &Claim) -> Result<(), Trouble> {
        let lease = &claim.lease;
        for ((document, generation), _) in self.stores.index.generations(Some(lease.document)).await? {
            if generation < lease.generation && Some(generation) != claim.document.published {
                self.stores.index.delete(document, generation).await?;
            }
        }
        Ok(())
    }

    /// Removes the points that this attempt wrote, and whatever no row explains; the text stays for the next attempt.
    pub(super) async fn discard(&self, claim: &Claim) {
        self.clear(claim, false).await;
    }

    /// Removes everything that this attempt wrote but the original, where that is the one the catalogue names.
    pub(super) async fn leave_nothing(&self, claim: &Claim) {
        self.clear(claim, true).await;
    }

    /// Removes what this attempt of an ingestion and those before it wrote, but for what a row names. Called before the row
    /// says that the job ended: who dies in between leaves a job that is tried again, and nothing that no row explains.
    /// Best effort.
    pub(super) async fn remove_attempts(&self, claim: &Claim) {
        if claim.job.kind != JobKind::Ingest {
            return;
        }
        if let Err(trouble) = self.remove_up_to(claim).await {
            let (document, error) = (claim.lease.document, trouble.error.detail);
            tracing::warn!(%document, error, "what failed attempts wrote is left");
        }
    }

    async fn remove_up_to(&self, claim: &Claim) -> Result<(), Trouble> {
        let (id, own) = (claim.lease.document, claim.lease.generation);
        let (points, blobs) = (
            self.stores.index.generations(Some(id)).await?,
            self.blobs_of(claim).await?,
        );
        let row = self.stores.catalogue.named(&[id]).await?.pop();
        let is_named = |explains: fn(&Named, Generation) -> Explained, generation| {
            row.as_ref()
                .is_some_and(|row| explains(row, generation) == Explained::Named)
        };
        for ((document, generation), _) in points {
            if generation <= own && !is_named(Named::explains_points, generation) {
                self.stores.index.delete(document, generation).await?;
            }
        }
        for (key, generation) in blobs {
            // The note that a document was deleted goes with its purge, after everything that it is about.
            if let BlobKey::Deleted(..) = BlobKey::read(&key) {
                continue;
            }
            // Only a published version has a text and a manifest that are named; the original is where the row says.
            let is_made = key.filename() == Some("text") || matches!(BlobKey::read(&key), BlobKey::Manifest(..));
            let explains = match is_made {
                true => Named::explains_points,
                false => Named::explains_blobs,
            };
            if generation <= own && !is_named(explains, generation) {
                self.remove_blob(&key).await?;
            }
        }
        Ok(())
    }

    /// Best effort; the sweep finds the rest.
    async fn clear(&self, claim: &Claim, with_files: bool) {
        if let Err(trouble) = self.remove_unexplained(claim, with_files).await {
            let (document, error) = (claim.lease.document, trouble.error.detail);
            tracing::warn!(%document, error, "what an attempt wrote is left");
        }
        self.forget_if_deleted(claim.lease.document).await;
    }

    /// The rows are asked because the answer to a publish may have been lost.
    async fn remove_unexplained(&self, claim: &Claim, with_files: bool) -> Result<(), Trouble> {
        let (id, own) = (claim.lease.document, claim.lease.generation);
        let points = self.stores.index.generations(Some(id)).await?;
        let blobs = self.blobs_of(claim).await?;
        let row = self.stores.catalogue.named(&[id]).await?.pop();
        if row
            .as_ref()
            .is_some_and(|row| row.lives() && row.published == Some(own))
        {
            // Its manifest was not looked at again, and an older version's may know of readers who were taken away.
            self.record(id).await?;
        }
        let goes = |explains: fn(&Named, Generation) -> Explained, generation, is_own| match &row {
            Some(row) => match explains(row, generation) {
                Explained::Named => false,
                Explained::Pending => is_own,
                Explained::Orphan => true,
            },
            None => true,
        };
        for ((document, generation), _) in points {
            if goes(Named::explains_points, generation, generation == own) {
                self.stores.index.delete(document, generation).await?;
            }
        }
        let text = text_key(&claim.document.acl.tenant, id, own);
        for (key, generation) in blobs {
            // The note that a document was deleted goes with its purge, after everything that it is about.
            if let BlobKey::Deleted(..) = BlobKey::read(&key) {
                continue;
            }
            let is_record = matches!(BlobKey::read(&key), BlobKey::Manifest(..));
            let is_own = (with_files || is_record) && generation == own;
            // A manifest of what is not published would be taken for one of what is.
            let explains = match is_record || is_own && key == text {
                true => Named::explains_points,
                false => Named::explains_blobs,
            };
            if goes(explains, generation, is_own) {
                self.remove_blob(&key).await?;
            }
        }
        match &claim.original {
            Original::Incoming(key) if row.as_ref().and_then(Named::waiting) != Some(key) => {
                Ok(self.remove_blob(&Path::from(key.as_str())).await?)
            }
            _ => Ok(()),
        }
    }

    /// Removes a blob; one that is gone already, by another hand, is removed.
    pub(super) async fn remove_blob(&self, key: &Path) -> object_store::Result<()> {
        match self.stores.blobs.delete(key).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            deleted => deleted,
        }
    }

    /// The claim's document's blobs with their generations.
    async fn blobs_of(&self, claim: &Claim) -> Result<Vec<(Path, Generation)>, Trouble> {
        let document = claim.lease.document.to_string();
        let prefix = Path::from_iter([claim.document.acl.tenant.as_str(), &document]);
        let blobs: &dyn ObjectStore = self.stores.blobs.as_ref();
        let found: Vec<_> = blobs.list(Some(&prefix)).try_collect().await?;
        let generation = |key: &Path| key.parts().nth(2).and_then(|part| part.as_ref().parse().ok());
        let named = found.into_iter().filter_map(|blob| {
            let generation = generation(&blob.location)?;
            Some((blob.location, Generation(generation)))
        });
        let mut named: Vec<_> = named.collect();
        // Whoever dies over their removal leaves no manifest of what is half gone, and of what is deleted the note as
        // long as anything is left.
        named.sort_by_key(|(key, _)| match BlobKey::read(key) {
            BlobKey::Manifest(..) => 0,
            BlobKey::Deleted(..) => 2,
            _ => 1,
        });
        Ok(named)
    }

    /// Brings the points of a freshly published version up to an ACL that changed meanwhile.
    pub(super) async fn refresh_access(&self, claim: &Claim) {
        match self.stores.catalogue.standing(&[claim.lease.document]).await {
            Ok(documents) => {
                for document in &documents {
                    self.spread_access(document).await;
                }
            }
            Err(error) => tracing::warn!(document = %claim.lease.document, %error, "readers not spread yet"),
        }
    }

    /// Gives the points of the published version the document's readers and fields. A revocation holds without it (admission
    /// asks the catalogue); a grant is found once this is done.
    pub(super) async fn spread_access(&self, document: &Document) {
        let Some(generation) = document.published else {
            return;
        };
        let fields = document.filter_fields();
        let index = &self.stores.index;
        let spread = index
            .set_access(document.id, generation, &document.acl, document.acl_revision, &fields)
            .await;
        if let Err(error) = spread {
            tracing::warn!(document = %document.id, %error, "readers not spread yet");
        }
    }
}
