//! Cache that searches share: facts about points, sizes of scopes, and the gate of recent queries.
//!
//! Invariant: losing the cache costs a round of requests, never a hit.

use std::sync::atomic::{AtomicU64, Ordering};

use super::facts::PointFactCache;
use super::sizes::ScopeSizeCache;

/// Added to the last mean gate, so that the next gate is rarely above the guess.
const MARGIN: f64 = 0.02;

/// Cache shared by all searches of an index.
#[derive(Debug)]
pub(super) struct SearchCache {
    pub facts: PointFactCache,
    pub sizes: ScopeSizeCache,
    /// Number of rounds of requests so far.
    rounds: AtomicU64,
    /// Bits of the last query's mean of stored gates, as `f64`.
    mean_gate: AtomicU64,
}

impl Default for SearchCache {
    fn default() -> Self {
        Self {
            facts: PointFactCache::default(),
            sizes: ScopeSizeCache::default(),
            rounds: AtomicU64::new(0),
            mean_gate: AtomicU64::new(1f64.to_bits()),
        }
    }
}

impl SearchCache {
    /// Guess of a query's gate from `query_gate`, its own part of it; rather too high than too low.
    pub fn guess_gate(&self, query_gate: f64) -> f64 {
        let mean = f64::from_bits(self.mean_gate.load(Ordering::Relaxed));
        query_gate * (mean + MARGIN).min(1.0)
    }

    /// Counts a round, which is a set of concurrent requests.
    pub fn count_round(&self) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of rounds so far.
    #[cfg(feature = "testing")]
    pub fn round_count(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Records the gate that a query got.
    pub fn record_gate(&self, query_gate: f64, gate: f64) {
        if query_gate > 0.0 {
            let mean = (gate / query_gate).to_bits();
            self.mean_gate.store(mean, Ordering::Relaxed);
        }
    }
}
