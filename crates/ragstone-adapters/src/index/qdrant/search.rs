//! Search: two rounds of requests give the union of both lists with both true scores.
//!
//! A third is made where the bounds of the first do not tell which points may be among the best, or where points are met
//! for the first time. Where a list turns out to be too short, all begins again with longer ones.
//!
//! Invariant: a list is complete before it is cut: if points beyond its end could tie with its last, or points in it turn
//! out not to be the caller's, more are fetched.

use std::collections::{BTreeSet, HashMap};

use ragstone_core::access::ScopedQuery;
use ragstone_core::id::PointId;
use ragstone_core::rank::fusion::Candidate;
use ragstone_core::rank::gate::{GATE_DOCUMENTS, gate};
use ragstone_core::seam::index::{Hit, Hits, IndexError, IndexQuery, SearchMode};

use super::bounds::ScoreBounds;
use super::exact::{Scores, replace};
use super::facts::Known;
use super::filter::cover;
use super::lists::{FoundPoint, Lists, TopPoints};
use super::memory::SearchMemory;
use super::rounds::{MissingScores, Rounds, Second};
use super::scope::findable;
use super::server::Server;

/// So many more points than wanted are fetched, that ties at the end of a list are usually inside.
const OVER_FETCH: usize = 16;
/// If they are not, or points fall away, so many times more are fetched,
const GROWTH: usize = 4;
/// up to this many.
const MAX_FETCH: usize = 16_384;
/// So many more points than are wanted to the last digit are read ahead at most, to be scored in the second round; with
/// more, it is cheaper to wait for their other scores.
const MAX_AHEAD: usize = 34;

/// One search.
pub(super) struct Search<'a> {
    rounds: Rounds<'a>,
    asked: &'a IndexQuery,
}

/// What lists of one length came to.
struct Turn {
    lists: Lists,
    second: Second,
}

/// What the lists say of the gate.
enum GateAnswer {
    Known(f64),
    /// It depends on the order of these points.
    Open(Vec<PointId>),
    /// Points of the lists are not known yet.
    Unknown,
    /// The lists are too short.
    Short,
}

impl<'a> Search<'a> {
    pub fn new(
        server: &'a Server,
        memory: &'a SearchMemory,
        query: &'a ScopedQuery<IndexQuery>,
        dense: Option<&'a [f32]>,
    ) -> Self {
        let mut conditions = findable(query);
        let cover = query.filter().map(cover);
        let exact = cover.as_ref().is_none_or(|cover| cover.exact);
        conditions.must.extend(cover.and_then(|cover| cover.condition));
        let rounds = Rounds {
            server,
            memory,
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

    pub async fn run(&self) -> Result<Hits, IndexError> {
        let memory = self.rounds.memory;
        let compared = self.rounds.is_small().await?;
        let mut guess = memory.guess(self.asked.query_gate);
        let mut limit = self.asked.depth.max(GATE_DOCUMENTS) + OVER_FETCH;
        loop {
            let mut turn = self.turn(limit, guess, compared).await?;
            let gate = self.gate(&mut turn).await?;
            let hits = gate.and_then(|gate| Some((gate, self.union(&turn, gate)?)));
            if let Some((gate, hits)) = hits {
                memory.note_gate(self.asked.query_gate, gate);
                return self.with_exact_scores(hits, gate, turn.second.exact).await;
            }
            // A list by another gate may be too short only for that.
            match gate.filter(|gate| *gate != guess) {
                Some(gate) => guess = gate,
                None => limit = (limit * GROWTH).min(MAX_FETCH),
            }
        }
    }

    /// Two rounds.
    async fn turn(&self, limit: usize, guess: f64, compared: bool) -> Result<Turn, IndexError> {
        let when = self.rounds.memory.facts.now();
        let mut lists = self.rounds.first(limit, guess, compared).await?;
        lists.is_final = limit >= MAX_FETCH;
        let known = self.rounds.remembered(&lists.points(), when);
        let ahead = match self.gate_of(&lists, &known, None, &HashMap::new()) {
            GateAnswer::Known(gate) => self.ahead(&lists, gate),
            GateAnswer::Open(points) => points,
            GateAnswer::Unknown | GateAnswer::Short => Vec::new(),
        };
        let second = self.rounds.second(&lists, known, &ahead).await?;
        Ok(Turn { lists, second })
    }

    /// The points that may be among the best, if they are few.
    fn ahead(&self, lists: &Lists, gate: f64) -> Vec<PointId> {
        let bounds = ScoreBounds {
            asked: self.asked,
            lists,
            gate,
            has_dense: self.rounds.dense.is_some(),
        };
        let head = bounds.head(&lists.candidates(self.asked.mode));
        match head.len() <= self.asked.exact + MAX_AHEAD {
            true => head,
            false => Vec::new(),
        }
    }

    /// The gate; none where the lists are too short to tell.
    async fn gate(&self, turn: &mut Turn) -> Result<Option<f64>, IndexError> {
        let second = &mut turn.second;
        let mut gate = self.gate_of(&turn.lists, &second.known, Some(&second.scores), &second.exact);
        if let GateAnswer::Open(points) = gate {
            second.exact.extend(self.rounds.measured(&points).await?);
            gate = self.gate_of(&turn.lists, &second.known, Some(&second.scores), &second.exact);
        }
        match gate {
            GateAnswer::Known(gate) => Ok(Some(gate)),
            _ => Ok(None),
        }
    }

    /// The gate by the best by words, or where there are none, by the best by cosine; by exact scores, where the order at
    /// their end decides which gates count.
    fn gate_of(
        &self,
        lists: &Lists,
        known: &Known,
        missing: Option<&MissingScores>,
        exact: &HashMap<PointId, Scores>,
    ) -> GateAnswer {
        let by_words = lists.top_by_words(known, GATE_DOCUMENTS, missing.map(|missing| &missing.pairs));
        let (top, score): (TopPoints, fn(&Scores) -> f64) = match by_words {
            TopPoints::Found(found) if found.is_empty() => {
                (lists.top_by_cosine(known, GATE_DOCUMENTS), |scores| scores.dense)
            }
            by_words => (by_words, |scores| scores.unigrams),
        };
        let mut found = match top {
            TopPoints::Found(found) => found,
            TopPoints::Unknown => return GateAnswer::Unknown,
            TopPoints::Short => return GateAnswer::Short,
        };
        let differ = found.iter().any(|other| other.gate != found[0].gate);
        if found.len() > GATE_DOCUMENTS && differ {
            let points: Vec<PointId> = found.iter().map(|found| found.point).collect();
            for found in &mut found {
                match exact.get(&found.point) {
                    Some(scores) => found.score = score(scores),
                    // One that is gone since has no vectors either.
                    None if exact.is_empty() => return GateAnswer::Open(points),
                    None => {}
                }
            }
            found.sort_by(FoundPoint::in_order);
        }
        found.truncate(GATE_DOCUMENTS);
        let gates: Vec<f64> = found.iter().map(|found| f64::from(found.gate)).collect();
        GateAnswer::Known(gate(self.asked.query_gate, &gates))
    }

    /// The union of both lists; none where one is too short.
    fn union(&self, turn: &Turn, gate: f64) -> Option<Vec<Hit>> {
        let mut union = BTreeSet::new();
        if self.asked.mode != SearchMode::Lexical {
            let top = turn.lists.top_by_cosine(&turn.second.known, self.asked.depth);
            union.extend(self.cut(top)?);
        }
        if self.asked.mode != SearchMode::Dense {
            union.extend(self.cut(self.by_words(turn, gate))?);
        }
        let hits = union.into_iter().filter_map(|point| turn.hit(point));
        Some(hits.collect())
    }

    fn cut(&self, top: TopPoints) -> Option<impl Iterator<Item = PointId>> {
        match top {
            TopPoints::Found(found) => Some(found.into_iter().take(self.asked.depth).map(|found| found.point)),
            TopPoints::Unknown | TopPoints::Short => None,
        }
    }

    /// The best by B' at the gate.
    fn by_words(&self, turn: &Turn, gate: f64) -> TopPoints {
        let candidates = turn.lists.candidates(self.asked.mode).into_iter();
        let scored = candidates.filter_map(|point| {
            let scores = turn.scores(point);
            let score = lexical(&scores, gate);
            let fact = turn.second.known.get(&point).copied().flatten()?;
            (score > 0.0).then(|| FoundPoint::new(point, score, &fact))
        });
        let mut found: Vec<FoundPoint> = scored.collect();
        found.sort_by(FoundPoint::in_order);
        turn.lists.complete(found, turn.lists.beyond_at(gate), self.asked.depth)
    }

    /// Puts scores to the last digit in place of those of Qdrant where they may place a hit among the best.
    async fn with_exact_scores(
        &self,
        mut hits: Vec<Hit>,
        gate: f64,
        mut exact: HashMap<PointId, Scores>,
    ) -> Result<Hits, IndexError> {
        let scorer = self.rounds.scorer();
        let mut head = scorer.head(gate, &hits);
        head.retain(|point| !exact.contains_key(point));
        exact.extend(self.rounds.measured(&head).await?);
        replace(&mut hits, &exact);
        Ok(Hits { gate, hits })
    }
}

impl Turn {
    fn hit(&self, point: PointId) -> Option<Hit> {
        let fact = self.second.known.get(&point).copied().flatten()?;
        let scores = self.scores(point);
        Some(Hit {
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

    /// One without a score shares no term, or has no vector.
    fn scores(&self, point: PointId) -> Scores {
        if let Some(scores) = self.second.exact.get(&point) {
            return *scores;
        }
        let (lists, missing) = (&self.lists, &self.second.scores);
        let or = |listed: Option<f64>, missing: &HashMap<PointId, f64>| {
            listed.or_else(|| missing.get(&point).copied()).unwrap_or(0.0)
        };
        let bigrams = or(lists.bigrams(point), &missing.pairs);
        Scores {
            dense: or(lists.dense.score(point), &missing.dense),
            unigrams: or(lists.unigrams(point, bigrams), &missing.words),
            bigrams,
        }
    }
}

fn lexical(scores: &Scores, gate: f64) -> f64 {
    let candidate = Candidate {
        id: (),
        unigram: scores.unigrams,
        bigram: scores.bigrams,
        cosine: scores.dense,
    };
    candidate.lexical(gate)
}
