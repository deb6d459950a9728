//! Removing what nobody may see any more.
//!
//! Invariant: acts on single generations, all of them older than the one its lease drew, so the purge of an old life
//! never touches a new one.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Ingestor, Trouble};
use crate::document::{Document, DocumentStatus, Stage};
use crate::id::Generation;
use crate::seam::audit::{Explained, Named};
use crate::seam::catalogue::{Claim, Original};

impl Ingestor {
    /// Removes everything of a tombstoned document.
    pub(super) async fn purge(&self, claim: &Claim) -> Result<(), Trouble> {
        self.note(&claim.lease, Stage::Purge, 0, 1).await?;
        if let (DocumentStatus::Deleting, Original::Incoming(key)) = (claim.document.status, &claim.original)
        {
            self.remove_incoming(&Path::from(key.as_str())).await;
        }
        self.remove_older(claim).await?;
        Ok(self.stores.catalogue.purged(&claim.lease, (self.clock)()).await?)
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

    /// Removes what this attempt and earlier ones wrote and no row explains; best effort, the sweep finds the rest. The
    /// rows are asked because the answer to a publish may have been lost.
    pub(super) async fn discard(&self, claim: &Claim) {
        if let Err(trouble) = self.remove_unexplained(claim).await {
            let error = trouble.error.detail;
            tracing::warn!(document = %claim.lease.document, error, "what a failed attempt wrote is left");
        }
    }

    async fn remove_unexplained(&self, claim: &Claim) -> Result<(), Trouble> {
        let id = claim.lease.document;
        let points = self.stores.index.generations(Some(id)).await?;
        let blobs = self.blobs_of(claim).await?;
        let row = self.stores.catalogue.named(&[id]).await?.pop();
        let is_orphan = |explains: fn(&Named, Generation) -> Explained, generation| match &row {
            Some(row) => explains(row, generation) == Explained::Orphan,
            None => true,
        };
        for ((document, generation), _) in points {
            if is_orphan(Named::explains_points, generation) {
                self.stores.index.delete(document, generation).await?;
            }
        }
        for (key, generation) in blobs {
            if is_orphan(Named::explains_blobs, generation) {
                self.remove_blob(&key).await?;
            }
        }
        Ok(())
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
        Ok(named.collect())
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
            .set_access(
                document.id,
                generation,
                &document.acl,
                document.acl_revision,
                &fields,
            )
            .await;
        if let Err(error) = spread {
            tracing::warn!(document = %document.id, %error, "readers not spread yet");
        }
    }
}
