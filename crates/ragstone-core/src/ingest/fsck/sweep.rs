//! The sweep: what crashed between two steps is finished, without anybody asking for it.
//!
//! Invariant: it takes only what this program named itself and no row explains, and leaves to `fsck` what a person
//! should see. Blobs go to quarantine, but for those that a later version replaced.

use std::time::Duration;

use super::{BATCH, ConsistencyCheck, FsckError, FsckReport, FsckRun, ORPHAN_AGE, RepairOptions};
use crate::seam::audit::DocumentRefs;

/// Which accepted bytes belong to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadSharing {
    /// Those that this process does not receive: it alone has the stores.
    Exclusive,
    /// Those that are old: other processes receive too.
    Shared,
}

impl ConsistencyCheck {
    /// Takes points and blobs that publishing or purging left, and old bytes of uploads that broke off; purges deleted
    /// documents to the end, and empties the quarantine of what has been in it for long enough.
    pub async fn sweep_stores(&self, uploads: UploadSharing) -> Result<FsckReport, FsckError> {
        let remedies = RepairOptions {
            remove_orphans: true,
            min_blob_age: Some(ORPHAN_AGE),
            min_incoming_age: Some(match uploads {
                UploadSharing::Exclusive => Duration::ZERO,
                UploadSharing::Shared => ORPHAN_AGE,
            }),
            allow_many: false,
            rebuild_missing: false,
        };
        let mut check = FsckRun::new(remedies, uploads, self.context.now());
        self.compare_stores(&mut check).await?;
        Ok(check.report)
    }

    /// Removes the bytes of uploads that a process was receiving when it died; for the one that has the stores alone,
    /// before it receives anything. Says how many there were.
    pub async fn sweep_incoming(&self) -> Result<u64, FsckError> {
        let remedies = RepairOptions {
            min_incoming_age: Some(Duration::ZERO),
            ..RepairOptions::default()
        };
        let mut check = FsckRun::new(remedies, UploadSharing::Exclusive, self.context.now());
        self.list_incoming(&mut check).await?;
        let mut after = None;
        while !check.incoming.is_empty() {
            let rows = self.context.stores.catalogue.list_document_refs(after, BATCH).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.document);
            for key in rows.iter().filter_map(DocumentRefs::incoming_key) {
                check.incoming.remove(key);
            }
        }
        self.check_incoming(&mut check).await?;
        self.remove_leftovers(&mut check).await?;
        Ok(check.report.repaired)
    }

    /// Forgets embeddings of documents that are gone: for a process that leaves the rest of the sweep to another one.
    pub async fn sweep_cache(&self) -> Result<FsckReport, FsckError> {
        let remedies = RepairOptions {
            remove_orphans: true,
            ..RepairOptions::default()
        };
        let mut check = FsckRun::new(remedies, UploadSharing::Shared, self.context.now());
        self.check_cache(&mut check).await?;
        Ok(check.report)
    }
}
