//! The failures of a sync. Until it has completed, the failures of the last sync count too, because their items were
//! not checked again.

use std::collections::BTreeSet;

use crate::document::JobError;
use crate::seam::source::{ItemFailure, MAX_FAILURES, SyncReport};

/// Failures of single items, bounded in number and size.
#[derive(Debug, Clone, Default)]
pub(super) struct FailureList {
    first: Vec<ItemFailure>,
    count: u64,
}

impl FailureList {
    pub fn add_failure(&mut self, uri: &str, error: JobError) {
        self.count += 1;
        if self.first.len() < MAX_FAILURES {
            self.first.push(ItemFailure::with_bounded_texts(uri, error));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Writes them into the report of a completed sync.
    pub fn write_to_report(&self, report: &mut SyncReport) {
        report.counts.failed = self.count;
        report.failures.clone_from(&self.first);
    }

    /// Writes them into the report of an incomplete sync, followed by those of `last`, the sync before.
    pub fn merge_into_report(&self, last: Option<&SyncReport>, report: &mut SyncReport) {
        self.write_to_report(report);
        let Some(last) = last else { return };
        report.held = report.held.max(last.held);
        let seen: BTreeSet<&str> = self.first.iter().map(|failure| failure.uri.as_str()).collect();
        let earlier = last
            .failures
            .iter()
            .filter(|failure| !seen.contains(failure.uri.as_str()));
        let earlier: Vec<ItemFailure> = earlier.cloned().collect();
        // Failures beyond [`MAX_FAILURES`] were only counted, so their number is carried over.
        let nameless = last.counts.failed.saturating_sub(last.failures.len() as u64);
        report.counts.failed += earlier.len() as u64 + nameless;
        report.failures.extend(earlier);
        report.failures.truncate(MAX_FAILURES);
    }
}
