//! Idle cores, lent to searches that are worth two threads.
//!
//! Invariant: searches and helpers together are no more than cores when a helper starts, so under load every search has
//! one thread, and a helper takes nothing from another search.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::dense::Scan;

/// Most helpers of one search: memory is no faster for more.
const MOST: usize = 3;

/// Counts who is at work.
#[derive(Debug)]
pub struct Helpers {
    cores: usize,
    busy: AtomicUsize,
}

impl Helpers {
    /// For this machine.
    pub fn new() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            busy: AtomicUsize::new(0),
        }
    }

    /// Counts the caller as busy while it holds what it gets.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Calls helpers to `scan`, as many as are idle. A helper that comes late finds nothing to do and leaves.
    pub fn call(self: &Arc<Self>, scan: &Arc<Scan>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        for _ in 0..MOST {
            if self.busy.load(Ordering::Relaxed) >= self.cores {
                return;
            }
            let (busy, scan) = (self.begin(), scan.clone());
            runtime.spawn_blocking(move || {
                scan.help();
                drop((scan, busy));
            });
        }
    }
}

/// Somebody at work.
#[derive(Debug)]
pub struct Busy(Arc<Helpers>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
