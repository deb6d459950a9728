//! What a sync could not take in. Until it has come to its end, what the last one could not take in counts too: it was not
//! looked at again.

use std::collections::BTreeSet;

use crate::document::JobError;
use crate::seam::source::{ItemFailure, MAX_FAILURES, SyncReport};

/// Failures, bounded in number and size.
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

    /// Writes them into the report of a sync that came to its end.
    pub fn write_to_report(&self, report: &mut SyncReport) {
        report.counts.failed = self.count;
        report.failures.clone_from(&self.first);
    }

    /// Writes them into the report of a sync that has not come to its end, behind those of `last`, the sync before.
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
        // Those beyond the first hundred have no names, so they count as they did.
        let nameless = last.counts.failed.saturating_sub(last.failures.len() as u64);
        report.counts.failed += earlier.len() as u64 + nameless;
        report.failures.extend(earlier);
        report.failures.truncate(MAX_FAILURES);
    }
}
