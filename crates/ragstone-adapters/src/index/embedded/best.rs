//! The best of many, with ties decided the same way everywhere.

use std::cmp::Reverse;

use ragstone_core::id::{ChunkId, PointId};

/// Scores are compared after rounding to this.
pub const TIE: f64 = 1e-6;

/// Where a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotLocation {
    /// Which segment.
    pub segment: u32,
    /// Which slot in it.
    pub slot: u16,
}

/// A point with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredSlot {
    /// The score, not rounded.
    pub score: f64,
    /// Decides ties.
    pub chunk: ChunkId,
    /// Decides ties between generations of one chunk.
    pub point: PointId,
    /// Where it is.
    pub place: SlotLocation,
}

impl ScoredSlot {
    fn sort_key(&self) -> (Reverse<i64>, ChunkId, PointId) {
        (Reverse((self.score / TIE).round() as i64), self.chunk, self.point)
    }
}

/// The best `limit`, best first.
pub fn best_slots(all: Vec<ScoredSlot>, limit: usize) -> Vec<ScoredSlot> {
    best_by_score(all, limit, |scored| scored)
}

/// The best `limit` of what has a score, best first.
pub fn best_by_score<T>(mut all: Vec<T>, limit: usize, scored: impl Fn(&T) -> &ScoredSlot) -> Vec<T> {
    let key = |one: &T| scored(one).sort_key();
    if all.len() > limit && limit > 0 {
        all.select_nth_unstable_by_key(limit - 1, key);
    }
    all.truncate(limit);
    all.sort_unstable_by_key(key);
    all
}

/// Candidates that may still be among the best, by what their score is at least and at most.
///
/// Invariant: at least `limit` of all candidates pushed score `floor` or more, so one that scores less at most is not
/// among the best `limit`. Ties are the pusher's to allow for, with bounds that are [`TIE`] wider.
#[derive(Debug)]
pub struct CandidateShortlist<T> {
    limit: usize,
    floor: f64,
    kept: Vec<BoundedCandidate<T>>,
    sift_at: usize,
}

#[derive(Debug)]
struct BoundedCandidate<T> {
    least: f64,
    most: f64,
    item: T,
}

/// The list is sifted when so many times more than wanted have gathered.
const SIFT_FACTOR: usize = 8;

impl<T> CandidateShortlist<T> {
    /// For the best `limit`, which are known to score at least `floor`.
    pub fn new(limit: usize, floor: f64) -> Self {
        Self {
            limit,
            floor: if limit == 0 { f64::INFINITY } else { floor },
            kept: Vec::new(),
            sift_at: SIFT_FACTOR * limit,
        }
    }

    /// What a candidate must reach to be kept.
    pub fn score_floor(&self) -> f64 {
        self.floor
    }

    /// Takes a candidate.
    pub fn push(&mut self, least: f64, most: f64, item: T) {
        if most < self.floor {
            return;
        }
        self.kept.push(BoundedCandidate { least, most, item });
        if self.kept.len() >= self.sift_at {
            self.prune_candidates();
        }
    }

    fn prune_candidates(&mut self) {
        if self.kept.len() >= self.limit && self.limit > 0 {
            let by_least = |a: &BoundedCandidate<T>, b: &BoundedCandidate<T>| b.least.total_cmp(&a.least);
            let (_, last, _) = self.kept.select_nth_unstable_by(self.limit - 1, by_least);
            self.floor = self.floor.max(last.least);
        }
        let floor = self.floor;
        self.kept.retain(|one| one.most >= floor);
        self.sift_at = self.kept.len() + SIFT_FACTOR * self.limit;
    }

    /// All that may be among the best, in no order.
    pub fn into_candidates(mut self) -> impl Iterator<Item = T> {
        self.prune_candidates();
        self.kept.into_iter().map(|one| one.item)
    }
}
