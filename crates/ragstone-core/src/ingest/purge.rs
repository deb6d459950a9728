//! Removing what nobody may see any more.
//!
//! Invariant: acts on single generations, all of them older than the one its lease drew, so the purge of an old life
//! never touches a new one.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Ingestor, Trouble};
use crate::document::{Document, JobKind, Stage};
use crate::id::Generation;
use crate::library::text::{original_key, text_key};
use crate::seam::catalogue::{Claim, Original};

impl Ingestor {
    /// Removes everything of a tombstoned document.
    pub(super) async fn purge(&self, claim: &Claim) -> Result<(), Trouble> {
        self.note(&claim.lease, Stage::Purge, 0, 1).await?;
        self.whole(&claim.lease, self.remove_older(claim)).await?;
        self.forget_embeddings(claim.lease.document).await?;
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
        self.remove_blobs(claim, |generation| generation < lease.generation)
            .await
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

    /// Removes the points that this attempt wrote; best effort, the sweep finds the rest. The text stays for the next
    /// attempt.
    pub(super) async fn discard(&self, claim: &Claim) {
        let lease = &claim.lease;
        if claim.job.kind == JobKind::Purge {
            return;
        }
        if let Err(error) = self.stores.index.delete(lease.document, lease.generation).await {
            tracing::warn!(document = %lease.document, %error, "points of a failed attempt are left");
        }
        self.forget_if_deleted(lease.document).await;
    }

    /// Removes everything that this attempt wrote but the original, where that is the one the catalogue names.
    pub(super) async fn leave_nothing(&self, claim: &Claim) {
        if claim.job.kind == JobKind::Purge {
            return;
        }
        self.discard(claim).await;
        if let Err(trouble) = self.remove_files(claim).await {
            let (document, error) = (claim.lease.document, trouble.error.detail);
            tracing::warn!(%document, %error, "files of an attempt that was stopped are left");
        }
    }

    async fn remove_files(&self, claim: &Claim) -> Result<(), Trouble> {
        let (lease, tenant) = (&claim.lease, &claim.document.acl.tenant);
        let named = self.stores.catalogue.original(lease.document).await?;
        let mut files = vec![text_key(tenant, lease.document, lease.generation)];
        if named != Some(Original::Stored(lease.generation)) {
            files.push(original_key(tenant, lease.document, lease.generation));
        }
        if let Original::Incoming(key) = &claim.original
            && named.as_ref() != Some(&claim.original)
        {
            files.push(Path::from(key.as_str()));
        }
        for file in files {
            match self.stores.blobs.delete(&file).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn remove_blobs(&self, claim: &Claim, old: impl Fn(Generation) -> bool) -> Result<(), Trouble> {
        let document = claim.lease.document.to_string();
        let prefix = Path::from_iter([claim.document.acl.tenant.as_str(), &document]);
        let blobs: &dyn ObjectStore = self.stores.blobs.as_ref();
        let found: Vec<_> = blobs.list(Some(&prefix)).try_collect().await?;
        for blob in found {
            let generation = blob
                .location
                .parts()
                .nth(2)
                .and_then(|part| part.as_ref().parse().ok());
            if generation.is_some_and(|number| old(Generation(number))) {
                blobs.delete(&blob.location).await?;
            }
        }
        Ok(())
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
