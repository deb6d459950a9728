//! Bytes that were accepted, or are on their way, and have no row yet.
//!
//! Invariant: a key that nothing will name is abandoned, and removed soon.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use object_store::path::Path;

/// Bytes on their way: while this lives, neither `fsck` nor the sweep takes them for an orphan. Dropped before a row may
/// name them or they were removed, they are abandoned.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) key: Path,
    all: InFlight,
    is_settled: bool,
}

/// The uploads of this process that are not begun yet.
pub(super) type InFlight = Arc<Mutex<Arrivals>>;

/// Keys of accepted bytes that no row names.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    receiving: HashSet<Path>,
    /// Whose sender left; nothing will name them.
    abandoned: Vec<Path>,
}

impl Receiving {
    pub(super) fn new(key: Path, all: &InFlight) -> Self {
        lock(all).receiving.insert(key.clone());
        Self {
            key,
            all: all.clone(),
            is_settled: false,
        }
    }

    /// Somebody else knows from now on whether the bytes stay.
    pub(super) fn settle(&mut self) {
        self.is_settled = true;
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let mut arrivals = lock(&self.all);
        arrivals.receiving.remove(&self.key);
        if !self.is_settled {
            arrivals.abandoned.push(self.key.clone());
        }
    }
}

impl Arrivals {
    /// Whether these bytes are on their way.
    pub(super) fn is_receiving(&self, key: &Path) -> bool {
        self.receiving.contains(key)
    }

    /// Keys that nothing will name, once.
    pub(super) fn take_abandoned(&mut self) -> Vec<Path> {
        std::mem::take(&mut self.abandoned)
    }
}

pub(super) fn lock(arrivals: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}
