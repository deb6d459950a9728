//! The sweep: what crashed between two steps is finished, without anybody asking for it.
//!
//! Invariant: it takes only what this program named itself and no row explains, and leaves to `fsck` what a person
//! should see. Blobs go to quarantine, but for those that a later version replaced.

use std::time::Duration;

use super::{BATCH, Check, FsckError, ORPHAN_AGE, Remedies, Report};
use crate::ingest::Ingestor;
use crate::seam::audit::Named;

/// Which accepted bytes belong to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploads {
    /// Those that this process does not receive: it alone has the stores.
    OursAlone,
    /// Those that are old: other processes receive too.
    Shared,
}

impl Ingestor {
    /// Takes points and blobs that publishing or purging left, and old bytes of uploads that broke off; purges deleted
    /// documents to the end, and empties the quarantine of what has been in it for long enough.
    pub async fn sweep(&self, uploads: Uploads) -> Result<Report, FsckError> {
        let remedies = Remedies {
            finish: true,
            blobs: Some(ORPHAN_AGE),
            incoming: Some(match uploads {
                Uploads::OursAlone => Duration::ZERO,
                Uploads::Shared => ORPHAN_AGE,
            }),
            many: false,
            restore: false,
        };
        let mut check = Check::new(remedies, uploads, (self.clock)());
        self.compare(&mut check).await?;
        Ok(check.report)
    }

    /// Removes the bytes of uploads that a process was receiving when it died; for the one that has the stores alone,
    /// before it receives anything. Says how many there were.
    pub async fn sweep_incoming(&self) -> Result<u64, FsckError> {
        let remedies = Remedies {
            incoming: Some(Duration::ZERO),
            ..Remedies::default()
        };
        let mut check = Check::new(remedies, Uploads::OursAlone, (self.clock)());
        self.list_incoming(&mut check).await?;
        let mut after = None;
        while !check.incoming.is_empty() {
            let rows = self.stores.catalogue.named_after(after, BATCH).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.document);
            for key in rows.iter().filter_map(Named::waiting) {
                check.incoming.remove(key);
            }
        }
        self.check_incoming(&mut check).await?;
        self.take_leftovers(&mut check).await?;
        Ok(check.report.repaired)
    }

    /// Forgets embeddings of documents that are gone: for a process that leaves the rest of the sweep to another one.
    pub async fn sweep_cache(&self) -> Result<Report, FsckError> {
        let remedies = Remedies {
            finish: true,
            ..Remedies::default()
        };
        let mut check = Check::new(remedies, Uploads::Shared, (self.clock)());
        self.check_cache(&mut check).await?;
        Ok(check.report)
    }
}
