//! What the lists of a first round say about scores that they do not hold: which points may be among the best, before
//! their missing scores are known.
//!
//! A point that is missing from the list of a leg scores no more there than the list's last. With the gate known, B' at the
//! gate follows from B' at the gate that was guessed and from B2, since it is linear in the gate.
//!
//! Invariant: a true score lies within its [`Span`], single precision aside; so whatever is among the best is in
//! [`ScoreBounds::head`], unless a walk through a graph missed it.

use ragstone_core::id::PointId;
use ragstone_core::rank::fusion::{BIGRAM_WEIGHT, DENSE_WEIGHT};
use ragstone_core::seam::index::{IndexQuery, SearchMode};

use super::exact::least;
use super::lists::{Lists, Ranking};

/// Least cosine there is.
const LEAST_COSINE: f64 = -1.0;

/// The least and the most that a score can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub least: f64,
    pub most: f64,
}

impl Span {
    fn exactly(score: f64) -> Self {
        Self {
            least: score,
            most: score,
        }
    }
}

/// What one first round says, once the gate is known.
pub(super) struct ScoreBounds<'a> {
    pub asked: &'a IndexQuery,
    pub lists: &'a Lists,
    pub gate: f64,
    pub has_dense: bool,
}

impl ScoreBounds<'_> {
    /// The points that may be among the best [`IndexQuery::exact`].
    pub fn head(&self, points: &[PointId]) -> Vec<PointId> {
        let Some(last) = self.asked.exact.checked_sub(1) else {
            return Vec::new();
        };
        let spans: Vec<Span> = points.iter().map(|point| self.placing(*point)).collect();
        let mut sure: Vec<f64> = spans.iter().map(|span| span.least).collect();
        sure.sort_unstable_by(|a, b| b.total_cmp(a));
        let floor = sure.get(last).map_or(f64::MIN, |score| least(least(*score)));
        let head = points.iter().zip(spans).filter(|(_, span)| span.most >= floor);
        head.map(|(point, _)| *point).collect()
    }

    /// The score that places a point in the mode's order.
    pub fn placing(&self, point: PointId) -> Span {
        let (cosine, lexical) = (self.cosine(point), self.lexical(point));
        let upper = self.asked.lexical.upper_bound;
        let weight = match (self.asked.mode, self.has_dense) {
            (SearchMode::Dense, true) => return cosine,
            (SearchMode::Hybrid, true) => DENSE_WEIGHT * self.gate,
            _ => 0.0,
        };
        Span {
            least: lexical.least / upper + weight * cosine.least,
            most: lexical.most / upper + weight * cosine.most,
        }
    }

    fn cosine(&self, point: PointId) -> Span {
        match (self.lists.dense.score(point), self.lists.dense.beyond()) {
            (Some(score), _) => Span::exactly(score),
            (None, None) => Span::exactly(0.0),
            (None, Some(most)) => Span {
                least: LEAST_COSINE,
                most,
            },
        }
    }

    /// B' at the gate.
    fn lexical(&self, point: PointId) -> Span {
        let mixed = span(&self.lists.mixed, point);
        let pairs = match self.lists.bigrams(point) {
            Some(bigrams) => Span::exactly(bigrams),
            None => span(&self.lists.pairs, point),
        };
        let weight = BIGRAM_WEIGHT * (self.gate - self.lists.guess);
        let (one, other) = (weight * pairs.least, weight * pairs.most);
        Span {
            least: (mixed.least + one.min(other)).max(0.0),
            most: mixed.most + one.max(other),
        }
    }
}

/// What a list of scores above 0 says of a point.
fn span(list: &Ranking, point: PointId) -> Span {
    match list.score(point) {
        Some(score) => Span::exactly(score),
        None => Span {
            least: 0.0,
            most: list.beyond().unwrap_or(0.0),
        },
    }
}

#[cfg(test)]
mod tests {
    use ragstone_core::rank::LexicalQuery;
    use ragstone_core::rank::fusion::Candidate;

    use super::*;

    /// Scores of `count` points, spread by a small generator so that every run is the same.
    fn candidates(seed: u64, count: usize) -> Vec<Candidate<PointId>> {
        let mut state = seed;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        let ids = (0..count).map(|n| format!("00000000-0000-0000-0000-{n:012}"));
        ids.map(|id| Candidate {
            id: id.parse().expect("an id"),
            unigram: (next() * 9.0 - 2.0).max(0.0),
            bigram: (next() * 40.0 - 25.0).max(0.0),
            cosine: next() * 1.4 - 0.6,
        })
        .collect()
    }

    fn list(candidates: &[Candidate<PointId>], limit: usize, score: impl Fn(&Candidate<PointId>) -> f64) -> Ranking {
        let mut entries: Vec<(PointId, f64)> = candidates.iter().map(|one| (one.id, score(one))).collect();
        entries.sort_by(|a, b| b.1.total_cmp(&a.1));
        let exhausted = entries.len() < limit;
        entries.truncate(limit);
        Ranking::new(entries, exhausted)
    }

    fn above_nothing(
        ranking: &[Candidate<PointId>],
        limit: usize,
        score: impl Fn(&Candidate<PointId>) -> f64,
    ) -> Ranking {
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
            exact: 10,
            without: Vec::new(),
        };
        let lists = Lists {
            dense: list(&candidates, limit, |one| one.cosine),
            mixed: above_nothing(&candidates, limit, |one| one.lexical(guess)),
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
        let truth = |one: &Candidate<PointId>| match mode {
            SearchMode::Dense => one.cosine,
            SearchMode::Hybrid => one.fused(9.0, gate),
            SearchMode::Lexical => one.lexical(gate) / 9.0,
        };
        for one in &candidates {
            let (span, truth) = (bounds.placing(one.id), truth(one));
            let slack = 1e-9;
            assert!(
                span.least <= truth + slack && truth <= span.most + slack,
                "{mode:?} {gate} {guess}: {truth} is not in {span:?}"
            );
        }
        let among = lists.candidates(mode);
        let head = bounds.head(&among);
        let mut best: Vec<&Candidate<PointId>> = candidates.iter().filter(|one| among.contains(&one.id)).collect();
        best.sort_by(|a, b| truth(b).total_cmp(&truth(a)));
        for one in best.iter().take(asked.exact) {
            assert!(
                head.contains(&one.id),
                "{mode:?} {gate} {guess}: one of the best is missing"
            );
        }
        assert!(lists.beyond_at(gate).is_none_or(|beyond| {
            let outside = candidates.iter().filter(|one| lists.mixed.score(one.id).is_none());
            outside.into_iter().all(|one| one.lexical(gate) <= beyond + 1e-9)
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
