//! Bounds on scores that the lists of a first round do not contain: which points may be among the best, before their
//! missing scores are known.
//!
//! A point that is missing from the list of a leg scores at most as much as the list's last entry. With the gate
//! known, B' at the gate follows from B' at the guessed gate and from B2, because it is linear in the gate.
//!
//! Invariant: a true score lies within its [`ScoreRange`], except for single-precision rounding; so all of the best
//! are in [`ScoreBounds::top_candidates`], unless a graph search missed them.

use ragstone_core::id::PointId;
use ragstone_core::rank::fusion::{BIGRAM_WEIGHT, DENSE_WEIGHT};
use ragstone_core::seam::index::{IndexQuery, SearchMode};

use super::exact::score_lower_bound;
use super::lists::{CandidateLists, LegRanking};

/// Lower bound of a cosine.
const LEAST_COSINE: f64 = -1.0;

/// Lower and upper bound of a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ScoreRange {
    pub least: f64,
    pub most: f64,
}

impl ScoreRange {
    fn exactly(score: f64) -> Self {
        Self {
            least: score,
            most: score,
        }
    }
}

/// Bounds from one first round, once the gate is known.
pub(super) struct ScoreBounds<'a> {
    pub asked: &'a IndexQuery,
    pub lists: &'a CandidateLists,
    pub gate: f64,
    pub has_dense: bool,
}

impl ScoreBounds<'_> {
    /// Points that may be among the best [`IndexQuery::exact_count`].
    pub fn top_candidates(&self, points: &[PointId]) -> Vec<PointId> {
        let Some(last) = self.asked.exact_count.checked_sub(1) else {
            return Vec::new();
        };
        let spans: Vec<ScoreRange> = points.iter().map(|point| self.ranking_range(*point)).collect();
        let mut sure: Vec<f64> = spans.iter().map(|span| span.least).collect();
        sure.sort_unstable_by(|a, b| b.total_cmp(a));
        let floor = sure
            .get(last)
            .map_or(f64::MIN, |score| score_lower_bound(score_lower_bound(*score)));
        let head = points.iter().zip(spans).filter(|(_, span)| span.most >= floor);
        head.map(|(point, _)| *point).collect()
    }

    /// Bounds of the score by which the mode sorts.
    pub fn ranking_range(&self, point: PointId) -> ScoreRange {
        let (cosine, lexical) = (self.cosine_range(point), self.lexical_range(point));
        let upper = self.asked.lexical.upper_bound;
        let weight = match (self.asked.mode, self.has_dense) {
            (SearchMode::Dense, true) => return cosine,
            (SearchMode::Hybrid, true) => DENSE_WEIGHT * self.gate,
            _ => 0.0,
        };
        ScoreRange {
            least: lexical.least / upper + weight * cosine.least,
            most: lexical.most / upper + weight * cosine.most,
        }
    }

    fn cosine_range(&self, point: PointId) -> ScoreRange {
        match (self.lists.dense.score(point), self.lists.dense.max_unlisted_score()) {
            (Some(score), _) => ScoreRange::exactly(score),
            (None, None) => ScoreRange::exactly(0.0),
            (None, Some(most)) => ScoreRange {
                least: LEAST_COSINE,
                most,
            },
        }
    }

    /// Bounds of B' at the gate.
    fn lexical_range(&self, point: PointId) -> ScoreRange {
        let mixed = list_score_range(&self.lists.mixed, point);
        let pairs = match self.lists.bigram_score(point) {
            Some(bigrams) => ScoreRange::exactly(bigrams),
            None => list_score_range(&self.lists.pairs, point),
        };
        let weight = BIGRAM_WEIGHT * (self.gate - self.lists.guess);
        let (one, other) = (weight * pairs.least, weight * pairs.most);
        ScoreRange {
            least: (mixed.least + one.min(other)).max(0.0),
            most: mixed.most + one.max(other),
        }
    }
}

/// Bounds from a list of positive scores.
fn list_score_range(list: &LegRanking, point: PointId) -> ScoreRange {
    match list.score(point) {
        Some(score) => ScoreRange::exactly(score),
        None => ScoreRange {
            least: 0.0,
            most: list.max_unlisted_score().unwrap_or(0.0),
        },
    }
}

#[cfg(test)]
mod tests {
    use ragstone_core::rank::LexicalQuery;
    use ragstone_core::rank::fusion::FusionCandidate;

    use super::*;

    /// Scores of `count` points from a small seeded generator, so that every run is the same.
    fn candidates(seed: u64, count: usize) -> Vec<FusionCandidate<PointId>> {
        let mut state = seed;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        let ids = (0..count).map(|n| format!("00000000-0000-0000-0000-{n:012}"));
        ids.map(|id| FusionCandidate {
            id: id.parse().expect("an id"),
            unigram: (next() * 9.0 - 2.0).max(0.0),
            bigram: (next() * 40.0 - 25.0).max(0.0),
            cosine: next() * 1.4 - 0.6,
        })
        .collect()
    }

    fn list(
        candidates: &[FusionCandidate<PointId>],
        limit: usize,
        score: impl Fn(&FusionCandidate<PointId>) -> f64,
    ) -> LegRanking {
        let mut entries: Vec<(PointId, f64)> = candidates.iter().map(|one| (one.id, score(one))).collect();
        entries.sort_by(|a, b| b.1.total_cmp(&a.1));
        let exhausted = entries.len() < limit;
        entries.truncate(limit);
        LegRanking::new(entries, exhausted)
    }

    fn above_nothing(
        ranking: &[FusionCandidate<PointId>],
        limit: usize,
        score: impl Fn(&FusionCandidate<PointId>) -> f64,
    ) -> LegRanking {
        let positive: Vec<_> = ranking.iter().filter(|one| score(one) > 0.0).cloned().collect();
        list(&positive, limit, score)
    }

    fn check(mode: SearchMode, gate: f64, guess: f64, limit: usize, pairs: usize) {
        let candidates = candidates(7 + limit as u64, 300);
        let asked = IndexQuery {
            mode,
            dense: Some(vec![1.0]),
            lexical: LexicalQuery {
                unigrams: vec![],
                bigrams: vec![],
                upper_bound: 9.0,
            },
            query_gate: 1.0,
            depth: limit,
            exact_count: 10,
            excluded: Vec::new(),
        };
        let lists = CandidateLists {
            dense: list(&candidates, limit, |one| one.cosine),
            mixed: above_nothing(&candidates, limit, |one| one.lexical_score(guess)),
            pairs: above_nothing(&candidates, pairs, |one| one.bigram),
            guess,
            is_final: false,
        };
        let bounds = ScoreBounds {
            asked: &asked,
            lists: &lists,
            gate,
            has_dense: true,
        };
        let truth = |one: &FusionCandidate<PointId>| match mode {
            SearchMode::Dense => one.cosine,
            SearchMode::Hybrid => one.fused_score(9.0, gate),
            SearchMode::Lexical => one.lexical_score(gate) / 9.0,
        };
        for one in &candidates {
            let (span, truth) = (bounds.ranking_range(one.id), truth(one));
            let slack = 1e-9;
            assert!(
                span.least <= truth + slack && truth <= span.most + slack,
                "{mode:?} {gate} {guess}: {truth} is not in {span:?}"
            );
        }
        let among = lists.hit_candidates(mode);
        let head = bounds.top_candidates(&among);
        let mut best: Vec<&FusionCandidate<PointId>> =
            candidates.iter().filter(|one| among.contains(&one.id)).collect();
        best.sort_by(|a, b| truth(b).total_cmp(&truth(a)));
        for one in best.iter().take(asked.exact_count) {
            assert!(
                head.contains(&one.id),
                "{mode:?} {gate} {guess}: one of the best is missing"
            );
        }
        assert!(lists.max_unlisted_at(gate).is_none_or(|beyond| {
            let outside = candidates.iter().filter(|one| lists.mixed.score(one.id).is_none());
            outside.into_iter().all(|one| one.lexical_score(gate) <= beyond + 1e-9)
        }));
    }

    #[test]
    fn true_scores_lie_within_their_spans_and_the_best_are_in_the_head() {
        for mode in [SearchMode::Hybrid, SearchMode::Dense, SearchMode::Lexical] {
            for (gate, guess) in [(1.0, 1.0), (0.7, 1.0), (0.9, 0.4), (0.5, 0.0), (0.0, 1.0)] {
                for (limit, pairs) in [(50, 400), (50, 20), (120, 60), (400, 400)] {
                    check(mode, gate, guess, limit, pairs);
                }
            }
        }
    }
}
