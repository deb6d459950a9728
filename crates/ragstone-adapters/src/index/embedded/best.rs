//! The best of many, with ties decided the same way everywhere.

use std::cmp::Reverse;

use ragstone_core::id::{ChunkId, PointId};

/// Scores are compared after rounding to this.
pub const TIE: f64 = 1e-6;

/// Where a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Which segment.
    pub segment: usize,
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

/// Keeps the best `limit` of what is pushed.
#[derive(Debug)]
pub struct Best {
    limit: usize,
    kept: Vec<Scored>,
    floor: f64,
}

impl Best {
    /// Keeps `limit`.
    pub fn new(limit: usize) -> Self {
        let floor = if limit == 0 {
            f64::INFINITY
        } else {
            f64::NEG_INFINITY
        };
        Self {
            limit,
            kept: Vec::new(),
            floor,
        }
    }

    /// Whether a score has a chance; lets the caller skip making a [`Scored`].
    pub fn wants(&self, score: f64) -> bool {
        score >= self.floor
    }

    /// Takes one.
    pub fn push(&mut self, scored: Scored) {
        if !self.wants(scored.score) {
            return;
        }
        self.kept.push(scored);
        if self.kept.len() >= 2 * self.limit + 64 {
            self.kept.select_nth_unstable_by_key(self.limit - 1, Scored::key);
            self.kept.truncate(self.limit);
            self.floor = self.kept[self.limit - 1].score - TIE;
        }
    }

    /// The best, best first.
    pub fn finish(mut self) -> Vec<Scored> {
        self.kept.sort_unstable_by_key(Scored::key);
        self.kept.truncate(self.limit);
        self.kept
    }
}
