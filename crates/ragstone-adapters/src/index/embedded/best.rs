//! Top-k selection, with ties decided the same way everywhere.

use std::cmp::Reverse;

use ragstone_core::id::{ChunkId, PointId};

/// Scores are rounded to a multiple of this before they are compared.
pub const TIE: f64 = 1e-6;

/// Location of a point in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotLocation {
    /// Position of the segment in the snapshot.
    pub segment: u32,
    /// Slot within that segment.
    pub slot: u16,
}

/// A point with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredSlot {
    /// Score, not rounded to [`TIE`].
    pub score: f64,
    /// Chunk of the point; decides ties.
    pub chunk: ChunkId,
    /// Point; decides ties between generations of one chunk.
    pub point: PointId,
    /// Location of the point.
    pub place: SlotLocation,
}

impl ScoredSlot {
    fn sort_key(&self) -> (Reverse<i64>, ChunkId, PointId) {
        (Reverse((self.score / TIE).round() as i64), self.chunk, self.point)
    }
}

/// Returns the best `limit` slots, best first.
pub fn best_slots(all: Vec<ScoredSlot>, limit: usize) -> Vec<ScoredSlot> {
    best_by_score(all, limit, |scored| scored)
}

/// Returns the best `limit` of `all` by the score that `scored` gives, best first.
pub fn best_by_score<T>(mut all: Vec<T>, limit: usize, scored: impl Fn(&T) -> &ScoredSlot) -> Vec<T> {
    let key = |one: &T| scored(one).sort_key();
    if all.len() > limit && limit > 0 {
        all.select_nth_unstable_by_key(limit - 1, key);
    }
    all.truncate(limit);
    all.sort_unstable_by_key(key);
    all
}

/// Candidates that may still be among the best, by lower and upper bounds on their scores.
///
/// Invariant: at least `limit` of all candidates pushed score `floor` or more, so one whose upper bound is lower is
/// not among the best `limit`. The caller has to allow for ties, by bounds that are [`TIE`] wider.
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

/// The list is pruned whenever it has grown by so many times `limit` entries.
const SIFT_FACTOR: usize = 8;

impl<T> CandidateShortlist<T> {
    /// A shortlist for the best `limit`, which are known to score at least `floor`.
    pub fn new(limit: usize, floor: f64) -> Self {
        Self {
            limit,
            floor: if limit == 0 { f64::INFINITY } else { floor },
            kept: Vec::new(),
            sift_at: SIFT_FACTOR * limit,
        }
    }

    /// Upper bound that a candidate must reach to be added.
    pub fn score_floor(&self) -> f64 {
        self.floor
    }

    /// Adds a candidate whose score is between `least` and `most`.
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

    /// All candidates that may be among the best, in no order.
    pub fn into_candidates(mut self) -> impl Iterator<Item = T> {
        self.prune_candidates();
        self.kept.into_iter().map(|one| one.item)
    }
}
