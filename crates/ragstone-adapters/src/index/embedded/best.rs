//! The best of many, with ties decided the same way everywhere.

use std::cmp::Reverse;

use ragstone_core::id::{ChunkId, PointId};

/// Scores are compared after rounding to this.
pub const TIE: f64 = 1e-6;

/// Where a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Which segment.
    pub segment: u32,
    /// Which slot in it.
    pub slot: u16,
}

/// A point with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The score, not rounded.
    pub score: f64,
    /// Decides ties.
    pub chunk: ChunkId,
    /// Decides ties between generations of one chunk.
    pub point: PointId,
    /// Where it is.
    pub place: Place,
}

impl Scored {
    fn key(&self) -> (Reverse<i64>, ChunkId, PointId) {
        (Reverse((self.score / TIE).round() as i64), self.chunk, self.point)
    }
}

/// The best `limit`, best first.
pub fn best(all: Vec<Scored>, limit: usize) -> Vec<Scored> {
    best_of(all, limit, |scored| scored)
}

/// The best `limit` of what has a score, best first.
pub fn best_of<T>(mut all: Vec<T>, limit: usize, scored: impl Fn(&T) -> &Scored) -> Vec<T> {
    let key = |one: &T| scored(one).key();
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
pub struct Shortlist<T> {
    limit: usize,
    floor: f64,
    kept: Vec<Bounded<T>>,
    sift_at: usize,
}

#[derive(Debug)]
struct Bounded<T> {
    least: f64,
    most: f64,
    item: T,
}

/// The list is sifted when so many times more than wanted have gathered.
const SIFT_FACTOR: usize = 8;

impl<T> Shortlist<T> {
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
    pub fn floor(&self) -> f64 {
        self.floor
    }

    /// Takes a candidate.
    pub fn push(&mut self, least: f64, most: f64, item: T) {
        if most < self.floor {
            return;
        }
        self.kept.push(Bounded { least, most, item });
        if self.kept.len() >= self.sift_at {
            self.sift();
        }
    }

    fn sift(&mut self) {
        if self.kept.len() >= self.limit && self.limit > 0 {
            let by_least = |a: &Bounded<T>, b: &Bounded<T>| b.least.total_cmp(&a.least);
            let (_, last, _) = self.kept.select_nth_unstable_by(self.limit - 1, by_least);
            self.floor = self.floor.max(last.least);
        }
        let floor = self.floor;
        self.kept.retain(|one| one.most >= floor);
        self.sift_at = self.kept.len() + SIFT_FACTOR * self.limit;
    }

    /// All that may be among the best, in no order.
    pub fn finish(mut self) -> impl Iterator<Item = T> {
        self.sift();
        self.kept.into_iter().map(|one| one.item)
    }
}
