//! How many points a scope holds, about: what decides whether vectors are compared one by one or a graph is walked.
//!
//! Invariant: a size is asked for again after a fixed number of searches, so no clock is needed, and a scope that grew is
//! walked soon after. An old size costs time or recall at the limit between both ways, never access.

use std::collections::HashMap;
use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, PoisonError};

/// Searches that one answer of the server serves.
const SEARCHES: u32 = 256;
/// Scopes remembered; beyond, all are forgotten.
const SCOPES: usize = 1_024;

/// The sizes of scopes that were searched last.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    by_scope: Mutex<HashMap<u64, Size>>,
}

#[derive(Debug)]
struct Size {
    points: u64,
    searches_left: u32,
}

impl Sizes {
    /// The size of a scope, if it was asked for lately.
    pub fn recent(&self, scope: u64) -> Option<u64> {
        let mut sizes = self.by_scope.lock().unwrap_or_else(PoisonError::into_inner);
        let size = sizes.get_mut(&scope)?;
        size.searches_left = size.searches_left.checked_sub(1)?;
        Some(size.points)
    }

    /// Remembers what the server said.
    pub fn remember(&self, scope: u64, points: u64) {
        let mut sizes = self.by_scope.lock().unwrap_or_else(PoisonError::into_inner);
        if sizes.len() >= SCOPES {
            sizes.clear();
        }
        let size = Size {
            points,
            searches_left: SEARCHES,
        };
        sizes.insert(scope, size);
    }
}

/// A number for what a scope is told the server by. Two scopes of one number would share a size, which is harmless.
pub(super) fn number_of(conditions: &impl Debug) -> u64 {
    let mut hashed = Hashed(DefaultHasher::new());
    // Writing into a hash does not fail.
    let _ = write!(hashed, "{conditions:?}");
    hashed.0.finish()
}

struct Hashed(DefaultHasher);

impl Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_serves_so_many_searches() {
        let sizes = Sizes::default();
        assert_eq!(sizes.recent(1), None);
        sizes.remember(1, 70);
        for _ in 0..SEARCHES {
            assert_eq!(sizes.recent(1), Some(70));
        }
        assert_eq!(sizes.recent(1), None);
        (0..2 * SCOPES as u64).for_each(|scope| sizes.remember(scope, scope));
        assert!(sizes.by_scope.lock().unwrap().len() <= SCOPES);
    }

    #[test]
    fn scopes_are_told_apart() {
        assert_eq!(number_of(&["a", "b"]), number_of(&["a", "b"]));
        assert_ne!(number_of(&["a", "b"]), number_of(&["a", "c"]));
    }
}
