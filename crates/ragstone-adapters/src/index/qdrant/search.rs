//! Search: two rounds of requests yield the union of both lists with both exact scores.
//!
//! A third round is needed if the bounds of the first do not show which points may be among the best, or if points are
//! not cached. If a list turns out to be too short, the search starts again with longer ones.
//!
//! Invariant: a list is complete before it is cut: if points beyond its end could tie with its last, or points in it
//! turn out not to be in scope, more are fetched.

use std::collections::{BTreeSet, HashMap};

use ragstone_core::access::ScopedQuery;
use ragstone_core::id::PointId;
use ragstone_core::rank::fusion::FusionCandidate;
use ragstone_core::rank::gate::{GATE_DOCUMENTS, combine_gates};
use ragstone_core::seam::index::{IndexError, IndexHit, IndexHits, IndexQuery, SearchMode};

use super::bounds::ScoreBounds;
use super::exact::{PointScores, replace_scores};
use super::facts::KnownPoints;
use super::filter::approximate_filter;
use super::lists::{CandidateLists, FoundPoint, TopPoints};
use super::memory::SearchCache;
use super::rounds::{MissingScores, SearchRounds, SecondRound};
use super::scope::query_filter;
use super::server::QdrantClient;

/// Number of points fetched beyond those wanted, so that ties at the end of a list are usually included.
const OVER_FETCH: usize = 16;
/// Growth factor of the list length if ties are not included, or points are dropped.
const GROWTH: usize = 4;
/// Greatest length of a list.
const MAX_FETCH: usize = 16_384;
/// Most points, beyond those that need exact scores, that are scored exactly in the second round; with more, it is
/// cheaper to wait for their other scores.
const MAX_AHEAD: usize = 34;

/// One search with its inputs.
pub(super) struct QdrantSearch<'a> {
    rounds: SearchRounds<'a>,
    asked: &'a IndexQuery,
}

/// Results of one pass with lists of one length.
struct RoundResults {
    lists: CandidateLists,
    second: SecondRound,
}

/// What the lists say about the query's gate.
enum GateAnswer {
    Known(f64),
    /// The gate depends on the exact order of these points.
    Undecided(Vec<PointId>),
    /// Some points of the lists are not read yet.
    Unknown,
    /// The lists are too short.
    TooShort,
}

impl<'a> QdrantSearch<'a> {
    pub fn new(
        server: &'a QdrantClient,
        memory: &'a SearchCache,
        query: &'a ScopedQuery<IndexQuery>,
        dense: Option<&'a [f32]>,
    ) -> Self {
        let mut conditions = query_filter(query);
        let cover = query.filter().map(approximate_filter);
        let exact = cover.as_ref().is_none_or(|cover| cover.exact);
        conditions.must.extend(cover.and_then(|cover| cover.condition));
        let rounds = SearchRounds {
            server,
            cache: memory,
            scope: query.scope(),
            asked: query.query(),
            dense,
            conditions,
            checked: query.filter().filter(|_| !exact),
        };
        Self {
            rounds,
            asked: query.query(),
        }
    }

    pub async fn run_search(&self) -> Result<IndexHits, IndexError> {
        let memory = self.rounds.cache;
        let compared = self.rounds.is_small().await?;
        let mut guess = memory.guess_gate(self.asked.query_gate);
        let mut limit = self.asked.depth.max(GATE_DOCUMENTS) + OVER_FETCH;
        loop {
            let mut turn = self.run_rounds(limit, guess, compared).await?;
            let gate = self.resolve_gate(&mut turn).await?;
            let hits = gate.and_then(|gate| Some((gate, self.union_hits(&turn, gate)?)));
            if let Some((gate, hits)) = hits {
                memory.record_gate(self.asked.query_gate, gate);
                return self.with_exact_scores(hits, gate, turn.second.exact).await;
            }
            // The list may be too short only because the guessed gate was wrong, so try the right one first.
            match gate.filter(|gate| *gate != guess) {
                Some(gate) => guess = gate,
                None => limit = (limit * GROWTH).min(MAX_FETCH),
            }
        }
    }

    /// Runs both rounds with lists of `limit` points.
    async fn run_rounds(&self, limit: usize, guess: f64, compared: bool) -> Result<RoundResults, IndexError> {
        let when = self.rounds.cache.facts.reading_count();
        let mut lists = self.rounds.first_round(limit, guess, compared).await?;
        lists.is_final = limit >= MAX_FETCH;
        let known = self.rounds.cached_points(&lists.all_points(), when);
        let ahead = match self.gate_from_lists(&lists, &known, None, &HashMap::new()) {
            GateAnswer::Known(gate) => self.points_ahead(&lists, gate),
            GateAnswer::Undecided(points) => points,
            GateAnswer::Unknown | GateAnswer::TooShort => Vec::new(),
        };
        let second = self.rounds.second_round(&lists, known, &ahead).await?;
        Ok(RoundResults { lists, second })
    }

    /// The points that may be among the best, if they are few; else none.
    fn points_ahead(&self, lists: &CandidateLists, gate: f64) -> Vec<PointId> {
        let bounds = ScoreBounds {
            asked: self.asked,
            lists,
            gate,
            has_dense: self.rounds.dense.is_some(),
        };
        let head = bounds.top_candidates(&lists.hit_candidates(self.asked.mode));
        match head.len() <= self.asked.exact_count + MAX_AHEAD {
            true => head,
            false => Vec::new(),
        }
    }

    /// The query's gate; `None` if the lists are too short.
    async fn resolve_gate(&self, turn: &mut RoundResults) -> Result<Option<f64>, IndexError> {
        let second = &mut turn.second;
        let mut gate = self.gate_from_lists(&turn.lists, &second.known, Some(&second.scores), &second.exact);
        if let GateAnswer::Undecided(points) = gate {
            second.exact.extend(self.rounds.score_points(&points).await?);
            gate = self.gate_from_lists(&turn.lists, &second.known, Some(&second.scores), &second.exact);
        }
        match gate {
            GateAnswer::Known(gate) => Ok(Some(gate)),
            _ => Ok(None),
        }
    }

    /// The gate from the best by lexical score, or if there are none, from the best by cosine. Exact scores are used
    /// if the order at the end of the list decides which gates count.
    fn gate_from_lists(
        &self,
        lists: &CandidateLists,
        known: &KnownPoints,
        missing: Option<&MissingScores>,
        exact: &HashMap<PointId, PointScores>,
    ) -> GateAnswer {
        let by_words = lists.top_by_words(known, GATE_DOCUMENTS, missing.map(|missing| &missing.pairs));
        let (top, score): (TopPoints, fn(&PointScores) -> f64) = match by_words {
            TopPoints::Found(found) if found.is_empty() => {
                (lists.top_by_cosine(known, GATE_DOCUMENTS), |scores| scores.dense)
            }
            by_words => (by_words, |scores| scores.unigrams),
        };
        let mut found = match top {
            TopPoints::Found(found) => found,
            TopPoints::Unknown => return GateAnswer::Unknown,
            TopPoints::TooShort => return GateAnswer::TooShort,
        };
        let differ = found.iter().any(|other| other.gate != found[0].gate);
        if found.len() > GATE_DOCUMENTS && differ {
            let points: Vec<PointId> = found.iter().map(|found| found.point).collect();
            for found in &mut found {
                match exact.get(&found.point) {
                    Some(scores) => found.score = score(scores),
                    // A point deleted since has no vectors, and so no exact score.
                    None if exact.is_empty() => return GateAnswer::Undecided(points),
                    None => {}
                }
            }
            found.sort_by(FoundPoint::compare_rank);
        }
        found.truncate(GATE_DOCUMENTS);
        let gates: Vec<f64> = found.iter().map(|found| f64::from(found.gate)).collect();
        GateAnswer::Known(combine_gates(self.asked.query_gate, &gates))
    }

    /// Union of both lists; `None` if one is too short.
    fn union_hits(&self, turn: &RoundResults, gate: f64) -> Option<Vec<IndexHit>> {
        let mut union = BTreeSet::new();
        if self.asked.mode != SearchMode::Lexical {
            let top = turn.lists.top_by_cosine(&turn.second.known, self.asked.depth);
            union.extend(self.cut_to_depth(top)?);
        }
        if self.asked.mode != SearchMode::Dense {
            union.extend(self.cut_to_depth(self.top_by_lexical(turn, gate))?);
        }
        let hits = union.into_iter().filter_map(|point| turn.build_hit(point));
        Some(hits.collect())
    }

    fn cut_to_depth(&self, top: TopPoints) -> Option<impl Iterator<Item = PointId>> {
        match top {
            TopPoints::Found(found) => Some(found.into_iter().take(self.asked.depth).map(|found| found.point)),
            TopPoints::Unknown | TopPoints::TooShort => None,
        }
    }

    /// The best by B' at the gate.
    fn top_by_lexical(&self, turn: &RoundResults, gate: f64) -> TopPoints {
        let candidates = turn.lists.hit_candidates(self.asked.mode).into_iter();
        let scored = candidates.filter_map(|point| {
            let scores = turn.scores_of(point);
            let score = lexical_score(&scores, gate);
            let fact = turn.second.known.get(&point).copied().flatten()?;
            (score > 0.0).then(|| FoundPoint::new(point, score, &fact))
        });
        let mut found: Vec<FoundPoint> = scored.collect();
        found.sort_by(FoundPoint::compare_rank);
        turn.lists
            .cut_to_limit(found, turn.lists.max_unlisted_at(gate), self.asked.depth)
    }

    /// Replaces Qdrant's scores by exact ones for hits that may be among the best.
    async fn with_exact_scores(
        &self,
        mut hits: Vec<IndexHit>,
        gate: f64,
        mut exact: HashMap<PointId, PointScores>,
    ) -> Result<IndexHits, IndexError> {
        let scorer = self.rounds.exact_scorer();
        let mut head = scorer.top_candidates(gate, &hits);
        head.retain(|point| !exact.contains_key(point));
        exact.extend(self.rounds.score_points(&head).await?);
        replace_scores(&mut hits, &exact);
        Ok(IndexHits { gate, hits })
    }
}

impl RoundResults {
    fn build_hit(&self, point: PointId) -> Option<IndexHit> {
        let fact = self.second.known.get(&point).copied().flatten()?;
        let scores = self.scores_of(point);
        Some(IndexHit {
            point,
            chunk: fact.chunk,
            document: fact.document,
            generation: fact.generation,
            acl_revision: fact.acl_revision,
            dense: scores.dense,
            unigrams: scores.unigrams,
            bigrams: scores.bigrams,
        })
    }

    /// Scores of a point; a missing score is 0, because the point shares no term or has no vector.
    fn scores_of(&self, point: PointId) -> PointScores {
        if let Some(scores) = self.second.exact.get(&point) {
            return *scores;
        }
        let (lists, missing) = (&self.lists, &self.second.scores);
        let or = |listed: Option<f64>, missing: &HashMap<PointId, f64>| {
            listed.or_else(|| missing.get(&point).copied()).unwrap_or(0.0)
        };
        let bigrams = or(lists.bigram_score(point), &missing.pairs);
        PointScores {
            dense: or(lists.dense.score(point), &missing.dense),
            unigrams: or(lists.unigram_score(point, bigrams), &missing.words),
            bigrams,
        }
    }
}

fn lexical_score(scores: &PointScores, gate: f64) -> f64 {
    let candidate = FusionCandidate {
        id: (),
        unigram: scores.unigrams,
        bigram: scores.bigrams,
        cosine: scores.dense,
    };
    candidate.lexical_score(gate)
}
