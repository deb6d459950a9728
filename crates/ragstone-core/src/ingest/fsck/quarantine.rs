//! What becomes of blobs that no row explains: they are kept in quarantine for a while, and deleted from there.
//!
//! Invariant: nothing is taken before all is seen, and nothing at all where the catalogue cannot be trusted to explain
//! the blobs: a blob of a generation that it never drew shows that it is older than they are, and where it does not
//! explain a good part of the library a person has to say so. What the catalogue itself replaced or deleted is no matter
//! of trust, and never comes here: it is deleted.

use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{ConsistencyCheck, FindingKind, FsckError, FsckRun};
use crate::id::Generation;
use crate::library::layout::quarantine_key;

/// One in so many blobs may be taken without being told to.
const ORPHAN_DIVISOR: u64 = 20;
/// So many may, however small the library: what a crash leaves of the jobs that ran.
const TOLERATED_ORPHANS: u64 = 10;
/// Most blobs that one comparison takes; the next one takes more.
const MAX_TAKEN: usize = 100_000;

/// What is to be done with blobs once all have been seen.
#[derive(Default)]
pub(super) struct LeftoverBlobs {
    /// Originals and texts in the store, explained or not.
    pub(super) blobs: u64,
    /// The highest generation among them.
    pub(super) highest: Generation,
    /// What nothing explains, originals and texts and foreign blobs.
    orphans: Vec<Path>,
    /// How many of those there are.
    unexplained: u64,
    /// Accepted bytes that nothing explains: of uploads that broke off, so any number of them is no sign of anything.
    uploads: Vec<Path>,
    /// What a later published version replaced.
    replaced: Vec<Path>,
    /// Manifests and notes that have served. Removed when the rows have been read, and so what replaces them is written.
    outdated: Vec<Path>,
    /// What has been in quarantine for long enough.
    expired: Vec<Path>,
}

impl LeftoverBlobs {
    /// A blob that nothing explains.
    pub(super) fn add_orphan(&mut self, key: Path) {
        self.unexplained += 1;
        if self.orphans.len() < MAX_TAKEN {
            self.orphans.push(key);
        }
    }

    /// Accepted bytes that nothing explains.
    pub(super) fn add_upload(&mut self, key: Path) {
        self.uploads.push(key);
    }

    /// What a later published version replaced.
    pub(super) fn add_replaced(&mut self, key: Path) {
        self.replaced.push(key);
    }

    /// A manifest or a note that has served.
    pub(super) fn add_outdated(&mut self, key: Path) {
        self.outdated.push(key);
    }

    /// What has been in quarantine since so long.
    pub(super) fn add_if_expired(&mut self, key: Path, age: Duration, keep: Duration) {
        if age >= keep {
            self.expired.push(key);
        }
    }

    /// Whether so many orphans are no accident.
    fn has_too_many_orphans(&self) -> bool {
        self.unexplained > TOLERATED_ORPHANS.max(self.blobs / ORPHAN_DIVISOR)
    }
}

impl ConsistencyCheck {
    /// Whether the rows that were read can be those of the blobs that were listed before.
    pub(super) async fn check_catalogue_age(&self, check: &FsckRun) -> Result<(), FsckError> {
        let blobs = check.leftovers.highest;
        if blobs == Generation(0) {
            return Ok(());
        }
        let catalogue = self.context.stores.catalogue.highest_generation().await?;
        match blobs > catalogue {
            true => Err(FsckError::Older { catalogue, blobs }),
            false => Ok(()),
        }
    }

    /// Takes what was found, if it may be taken.
    pub(super) async fn remove_leftovers(&self, check: &mut FsckRun) -> Result<(), FsckError> {
        let leftovers = std::mem::take(&mut check.leftovers);
        for key in leftovers.expired.iter().chain(&leftovers.outdated) {
            self.context.remove_blob(key).await?;
        }
        for key in &leftovers.replaced {
            self.context.remove_blob(key).await?;
            check.report_orphan_blob(key.clone(), true);
        }
        for key in &leftovers.uploads {
            self.quarantine_blob(check, key).await?;
        }
        if leftovers.has_too_many_orphans() && !check.remedies.allow_many {
            return Err(FsckError::TooMany {
                unexplained: leftovers.unexplained,
                blobs: leftovers.blobs,
            });
        }
        for key in &leftovers.orphans {
            self.quarantine_blob(check, key).await?;
        }
        if check.quarantined > 0 {
            tracing::warn!(
                blobs = check.quarantined,
                days = self.context.settings.quarantine.as_secs() / (24 * 60 * 60),
                "blobs that no row explains are moved to quarantine/ in the blob store, and deleted from there after \
                 data.quarantine_days"
            );
        }
        Ok(())
    }

    /// Moves a blob; one that is gone already needs no quarantine.
    async fn quarantine_blob(&self, check: &mut FsckRun, key: &Path) -> Result<(), FsckError> {
        let to = quarantine_key(key, check.now.unix_timestamp());
        match self.context.stores.blobs.rename(key, &to).await {
            Ok(()) => check.quarantined += 1,
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        check.report_orphan_blob(key.clone(), true);
        Ok(())
    }
}

impl FsckRun {
    /// Tells of a blob that no row names.
    pub(super) fn report_orphan_blob(&mut self, key: Path, taken: bool) {
        self.report
            .add_finding(FindingKind::OrphanBlob, key.to_string(), 1, taken);
    }
}
