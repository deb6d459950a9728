//! The lists of a first round: points with scores, best first, and bounds on the points beyond their ends.
//!
//! Invariant: a point that is missing from a list scores at most [`LegRanking::max_unlisted_score`], unless the list
//! comes from a graph search, which may miss points.

use std::cmp::Ordering;
use std::collections::HashMap;

use ragstone_core::id::{ChunkId, PointId};
use ragstone_core::rank::fusion::{BIGRAM_WEIGHT, RankedHit, compare_hits};
use ragstone_core::seam::index::SearchMode;

use super::exact::score_lower_bound;
use super::facts::{KnownPoints, PointFact};

/// Best points of one leg.
#[derive(Debug, Clone, Default)]
pub(super) struct LegRanking {
    entries: Vec<(PointId, f64)>,
    by_point: HashMap<PointId, f64>,
    exhausted: bool,
}

impl LegRanking {
    /// A list of `entries`, best first; `exhausted` means that the scope has no further point of this leg.
    pub fn new(entries: Vec<(PointId, f64)>, exhausted: bool) -> Self {
        let by_point = entries.iter().copied().collect();
        Self {
            entries,
            by_point,
            exhausted,
        }
    }

    /// The list of a leg without a query: it is empty and exhausted.
    pub fn empty() -> Self {
        Self::new(Vec::new(), true)
    }

    pub fn score(&self, point: PointId) -> Option<f64> {
        self.by_point.get(&point).copied()
    }

    /// Whether the list proves that this leg does not find `point`.
    pub fn excludes_point(&self, point: PointId) -> bool {
        self.exhausted && !self.by_point.contains_key(&point)
    }

    /// Upper bound on the score of points outside the list; `None` if there is no such point.
    pub fn max_unlisted_score(&self) -> Option<f64> {
        match self.exhausted {
            true => None,
            false => Some(self.entries.last().map_or(f64::INFINITY, |(_, score)| *score)),
        }
    }
}

/// A point of a list that the caller may see.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundPoint {
    pub point: PointId,
    pub score: f64,
    pub gate: f32,
    chunk: ChunkId,
}

impl FoundPoint {
    pub fn new(point: PointId, score: f64, fact: &PointFact) -> Self {
        Self {
            point,
            score,
            gate: fact.gate,
            chunk: fact.chunk,
        }
    }

    /// Orders by score, best first, then by chunk, then by point.
    pub fn compare_rank(&self, other: &Self) -> Ordering {
        let ranked = |found: &Self| RankedHit {
            id: found.chunk,
            score: found.score,
        };
        compare_hits(&ranked(self), &ranked(other)).then_with(|| self.point.cmp(&other.point))
    }
}

/// The best points of a list.
#[derive(Debug, PartialEq)]
pub(super) enum TopPoints {
    /// All points that may be among the best, best first.
    Found(Vec<FoundPoint>),
    /// Some points of the list are not read yet.
    Unknown,
    /// Points beyond the end of the list may be among the best.
    TooShort,
}

/// Lists of one first round, one for each leg.
#[derive(Debug, Default)]
pub(super) struct CandidateLists {
    /// Points sorted by cosine.
    pub dense: LegRanking,
    /// Sorted by B' with [`Self::guess`] as the gate.
    pub mixed: LegRanking,
    /// Sorted by B2, the score of pairs. Few points share a pair, so this list is nearly always exhausted.
    pub pairs: LegRanking,
    /// Guess of the query's gate, which is not known before the lists are.
    pub guess: f64,
    /// Whether the lists have the greatest length that is fetched.
    pub is_final: bool,
}

impl CandidateLists {
    /// All points of the lists that decide about hits or the gate, without duplicates.
    pub fn all_points(&self) -> Vec<PointId> {
        distinct_points(&[&self.dense, &self.mixed])
    }

    /// The points that may be hits, without duplicates.
    pub fn hit_candidates(&self, mode: SearchMode) -> Vec<PointId> {
        match mode {
            SearchMode::Hybrid => self.all_points(),
            SearchMode::Dense => distinct_points(&[&self.dense]),
            SearchMode::Lexical => distinct_points(&[&self.mixed]),
        }
    }

    /// B2 of a point, if the lists determine it.
    pub fn bigram_score(&self, point: PointId) -> Option<f64> {
        let shares_no_term = self.guess > 0.0 && self.mixed.excludes_point(point);
        match self.pairs.excludes_point(point) || shares_no_term {
            true => Some(0.0),
            false => self.pairs.score(point),
        }
    }

    /// B of a point with this B2, if the lists determine it.
    pub fn unigram_score(&self, point: PointId, bigrams: f64) -> Option<f64> {
        match self.mixed.excludes_point(point) {
            true => Some(0.0),
            false => {
                let mixed = self.mixed.score(point)?;
                let words = mixed - BIGRAM_WEIGHT * self.guess * bigrams;
                // A rest below the rounding error counts as zero.
                let is_rest = bigrams > 0.0 && words < mixed - score_lower_bound(mixed);
                Some(if is_rest { 0.0 } else { words })
            }
        }
    }

    /// Upper bound of B' at `gate` for points outside the list by B'; `None` if there is no such point.
    pub fn max_unlisted_at(&self, gate: f64) -> Option<f64> {
        let beyond = self.mixed.max_unlisted_score()?;
        let more = BIGRAM_WEIGHT * (gate - self.guess).max(0.0);
        if more == 0.0 {
            return Some(beyond);
        }
        let outside = self
            .pairs
            .entries
            .iter()
            .find(|(point, _)| self.mixed.score(*point).is_none());
        let listed = outside.map_or(0.0, |(_, bigrams)| *bigrams);
        Some(beyond + more * listed.max(self.pairs.max_unlisted_score().unwrap_or(0.0)))
    }

    /// The best `limit` by B, and ties with the last of them. `pairs` has the B2 that was fetched for points whose
    /// lists do not determine it; a point missing from it shares no pair.
    pub fn top_by_words(&self, known: &KnownPoints, limit: usize, pairs: Option<&HashMap<PointId, f64>>) -> TopPoints {
        let mut entries = Vec::with_capacity(self.mixed.entries.len());
        for (point, _) in &self.mixed.entries {
            let asked = pairs.map(|pairs| pairs.get(point).copied().unwrap_or(0.0));
            let bigrams = self.bigram_score(*point).or(asked);
            match bigrams.and_then(|bigrams| self.unigram_score(*point, bigrams)) {
                Some(words) if words > 0.0 => entries.push((*point, words)),
                Some(_) => {}
                None => return TopPoints::Unknown,
            }
        }
        entries.sort_by(|a, b| b.1.total_cmp(&a.1));
        // B is at most B' at any gate, so the list by B' bounds it.
        self.top_of(&entries, self.mixed.max_unlisted_score(), known, limit)
    }

    /// The best `limit` by cosine, and ties with the last of them.
    pub fn top_by_cosine(&self, known: &KnownPoints, limit: usize) -> TopPoints {
        self.top_of(&self.dense.entries, self.dense.max_unlisted_score(), known, limit)
    }

    fn top_of(&self, entries: &[(PointId, f64)], beyond: Option<f64>, known: &KnownPoints, limit: usize) -> TopPoints {
        let mut found: Vec<FoundPoint> = Vec::new();
        let mut floor = f64::NEG_INFINITY;
        for (point, score) in entries {
            if *score < floor {
                break;
            }
            match known.get(point) {
                Some(Some(fact)) => found.push(FoundPoint::new(*point, *score, fact)),
                Some(None) => continue,
                None => return TopPoints::Unknown,
            }
            if found.len() == limit {
                floor = score_lower_bound(score_lower_bound(*score));
            }
        }
        found.sort_by(FoundPoint::compare_rank);
        self.cut_to_limit(found, beyond, limit)
    }

    /// The best `limit` of sorted points, and ties with the last of them; `beyond` is the upper bound of points that
    /// are not among them.
    pub fn cut_to_limit(&self, mut found: Vec<FoundPoint>, beyond: Option<f64>, limit: usize) -> TopPoints {
        if limit == 0 {
            return TopPoints::Found(Vec::new());
        }
        let floor = found
            .get(limit - 1)
            .map(|end| score_lower_bound(score_lower_bound(end.score)));
        let reaches = |beyond: f64| floor.is_none_or(|floor| beyond >= floor);
        if beyond.is_some_and(reaches) && !self.is_final {
            return TopPoints::TooShort;
        }
        found.retain(|found| floor.is_none_or(|floor| found.score >= floor));
        TopPoints::Found(found)
    }
}

fn distinct_points(lists: &[&LegRanking]) -> Vec<PointId> {
    let entries = lists.iter().flat_map(|list| &list.entries);
    let mut points: Vec<PointId> = entries.map(|(point, _)| *point).collect();
    points.sort_unstable();
    points.dedup();
    points
}
