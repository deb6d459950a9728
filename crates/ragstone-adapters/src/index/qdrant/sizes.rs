//! Approximate number of points in a scope, which decides between an exact scan and a graph search.
//!
//! Invariant: a size is fetched again after a fixed number of searches, so no clock is needed and a grown scope is
//! noticed soon. An outdated size costs time or recall near the limit between both ways, never access control.

use std::collections::HashMap;
use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, PoisonError};

/// Searches that use one fetched size.
const SEARCHES: u32 = 256;
/// Scopes that are cached; when there are more, the cache is cleared.
const SCOPES: usize = 1_024;

/// Sizes of scopes that were searched last.
#[derive(Debug, Default)]
pub(super) struct ScopeSizeCache {
    by_scope: Mutex<HashMap<u64, ScopeSize>>,
}

#[derive(Debug)]
struct ScopeSize {
    points: u64,
    searches_left: u32,
}

impl ScopeSizeCache {
    /// Size of a scope if it was fetched recently.
    pub fn recent_size(&self, scope: u64) -> Option<u64> {
        let mut sizes = self.by_scope.lock().unwrap_or_else(PoisonError::into_inner);
        let size = sizes.get_mut(&scope)?;
        size.searches_left = size.searches_left.checked_sub(1)?;
        Some(size.points)
    }

    /// Caches a size that the server returned.
    pub fn record_size(&self, scope: u64, points: u64) {
        let mut sizes = self.by_scope.lock().unwrap_or_else(PoisonError::into_inner);
        if sizes.len() >= SCOPES {
            sizes.clear();
        }
        let size = ScopeSize {
            points,
            searches_left: SEARCHES,
        };
        sizes.insert(scope, size);
    }
}

/// Hash of a scope's conditions. A collision would share a size between two scopes, which is harmless.
pub(super) fn hash_conditions(conditions: &impl Debug) -> u64 {
    let mut hashed = HashWriter(DefaultHasher::new());
    // Writing to a hasher does not fail.
    let _ = write!(hashed, "{conditions:?}");
    hashed.0.finish()
}

struct HashWriter(DefaultHasher);

impl Write for HashWriter {
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
        let sizes = ScopeSizeCache::default();
        assert_eq!(sizes.recent_size(1), None);
        sizes.record_size(1, 70);
        for _ in 0..SEARCHES {
            assert_eq!(sizes.recent_size(1), Some(70));
        }
        assert_eq!(sizes.recent_size(1), None);
        (0..2 * SCOPES as u64).for_each(|scope| sizes.record_size(scope, scope));
        assert!(sizes.by_scope.lock().unwrap().len() <= SCOPES);
    }

    #[test]
    fn scopes_are_told_apart() {
        assert_eq!(hash_conditions(&["a", "b"]), hash_conditions(&["a", "b"]));
        assert_ne!(hash_conditions(&["a", "b"]), hash_conditions(&["a", "c"]));
    }
}
