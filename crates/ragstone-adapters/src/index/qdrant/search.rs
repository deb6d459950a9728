//! Search: four rounds of requests give the union of both lists with both true scores.
//!
//! Round one finds the points by whose gates the question is believed, round two both lists, round three the scores
//! that a list did not bring, round four the stored vectors of the best, to score those to the last digit. Qdrant's own
//! fusions do not tell the scores of the legs, so they are of no use here.
//!
//! Invariant: a list is complete before it is cut: if points beyond its end could tie with its last, or points in it turn
//! out not to be the caller's, more are fetched.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use qdrant_client::qdrant::{
    Condition, CountPoints, DenseVector, Filter as Conditions, PayloadIncludeSelector, Query,
    QueryBatchPoints, QueryPoints, ScoredPoint, VectorInput, WithPayloadSelector, query, vector_input,
    with_payload_selector::SelectorOptions,
};
use ragstone_core::access::{Scope, ScopedQuery};
use ragstone_core::filter::Filter;
use ragstone_core::id::{ChunkId, PointId};
use ragstone_core::rank::fusion::{BIGRAM_WEIGHT, Ranked, compare};
use ragstone_core::rank::gate::{GATE_DOCUMENTS, gate};
use ragstone_core::seam::index::{Hit, Hits, IndexError, IndexQuery, SearchMode};

use super::exact::{Ruler, least, measured, replace};
use super::filter::cover;
use super::leg::Leg;
use super::payload::{
    ACL_LONG, ACL_REVISION, CHUNK, DENSE, DOCUMENT, FIELDS, GATE, GENERATION, LEXICAL, Payload, Reading, id,
    point_id, summed,
};
use super::scope::findable;
use super::server::Server;

/// So many more points than wanted are fetched, that ties at the end of a list are usually inside.
const OVER_FETCH: usize = 16;
/// If they are not, or points fall away, so many times more are fetched,
const GROWTH: usize = 4;
/// up to this many.
const MAX_FETCH: usize = 16_384;

/// One search.
pub(super) struct Search<'a> {
    server: &'a Server,
    scope: &'a Scope,
    asked: &'a IndexQuery,
    /// The question's vector, if there is a dense leg.
    dense: Option<&'a [f32]>,
    /// What Qdrant is told the caller may see.
    conditions: Conditions,
    /// The caller's filter, where Qdrant could not be told all of it.
    checked: Option<&'a Filter>,
}

/// A point of a list.
struct Found {
    score: f64,
    gate: f32,
    hit: Hit,
}

/// Puts a leg's score into a hit.
type SetScore = fn(&mut Hit, f64);

impl<'a> Search<'a> {
    pub fn new(server: &'a Server, query: &'a ScopedQuery<IndexQuery>, dense: Option<&'a [f32]>) -> Self {
        let mut conditions = findable(query);
        let cover = query.filter().map(cover);
        let exact = cover.as_ref().is_none_or(|cover| cover.exact);
        conditions.must.extend(cover.and_then(|cover| cover.condition));
        Self {
            server,
            scope: query.scope(),
            asked: query.query(),
            dense,
            conditions,
            checked: query.filter().filter(|_| !exact),
        }
    }

    pub async fn run(&self) -> Result<Hits, IndexError> {
        let unigrams = summed(self.asked.lexical.unigrams.iter().copied());
        let (believed, exact) = tokio::try_join!(self.believed(Leg::Lexical(unigrams)), self.is_small())?;
        let gate = self.gate(believed, exact).await?;
        let (dense, lexical) = tokio::try_join!(self.dense_list(exact), self.lexical_list(gate))?;
        let mut union: BTreeMap<PointId, Hit> = BTreeMap::new();
        union.extend(lexical.into_iter().map(|found| (found.hit.point, found.hit)));
        union.extend(dense.into_iter().map(|found| (found.hit.point, found.hit)));
        let mut hits = self.with_true_scores(union).await?;
        let ruler = Ruler::new(self.asked, self.dense);
        let head = ruler.head(gate, &hits);
        replace(&mut hits, &measured(self.server, &ruler, &head).await?);
        Ok(Hits { gate, hits })
    }

    /// The best by whose gates the question is believed; where the order at their end decides which gates count, by exact
    /// scores.
    async fn believed(&self, leg: Leg) -> Result<Vec<Found>, IndexError> {
        let mut found = self.candidates(&leg, GATE_DOCUMENTS).await?;
        let is_open = found.iter().any(|other| other.gate != found[0].gate);
        if found.len() > GATE_DOCUMENTS && is_open {
            let points: Vec<PointId> = found.iter().map(|found| found.hit.point).collect();
            let ruler = Ruler::new(self.asked, self.dense);
            let exact = measured(self.server, &ruler, &points).await?;
            for found in &mut found {
                if let Some(scores) = exact.get(&found.hit.point) {
                    found.score = match leg {
                        Leg::Dense { .. } => scores.dense,
                        Leg::Lexical(_) => scores.unigrams,
                    };
                }
            }
            found.sort_by(in_order);
        }
        found.truncate(GATE_DOCUMENTS);
        Ok(found)
    }

    /// Whether so few points are in scope that each is compared.
    async fn is_small(&self) -> Result<bool, IndexError> {
        if self.dense.is_none() {
            return Ok(true);
        }
        let request = CountPoints {
            collection_name: self.server.collection(),
            filter: Some(self.conditions.clone()),
            exact: Some(false),
            ..CountPoints::default()
        };
        let answer = self.server.read("estimating the scope", |client| {
            let request = request.clone();
            async move { client.count(request).await }
        });
        let count = answer.await?.result.map_or(0, |result| result.count);
        Ok(count <= self.server.options.exact_below)
    }

    async fn gate(&self, by_words: Vec<Found>, exact: bool) -> Result<f64, IndexError> {
        let best = match (by_words.is_empty(), self.dense) {
            (true, Some(vector)) => {
                let vector = vector.to_vec();
                self.believed(Leg::Dense { vector, exact }).await?
            }
            _ => by_words,
        };
        let gates: Vec<f64> = best.iter().map(|found| f64::from(found.gate)).collect();
        Ok(gate(self.asked.query_gate, &gates))
    }

    async fn dense_list(&self, exact: bool) -> Result<Vec<Found>, IndexError> {
        match self.dense.filter(|_| self.asked.mode != SearchMode::Lexical) {
            Some(vector) => {
                let vector = vector.to_vec();
                self.best(Leg::Dense { vector, exact }, self.asked.depth).await
            }
            None => Ok(Vec::new()),
        }
    }

    /// The list by B', which one query gives because words and pairs stand in one vector.
    async fn lexical_list(&self, gate: f64) -> Result<Vec<Found>, IndexError> {
        if self.asked.mode == SearchMode::Dense {
            return Ok(Vec::new());
        }
        let lexical = &self.asked.lexical;
        let pairs = lexical
            .bigrams
            .iter()
            .map(|(term, idf)| (*term, BIGRAM_WEIGHT * gate * idf));
        let both = summed(lexical.unigrams.iter().copied().chain(pairs));
        self.best(Leg::Lexical(both), self.asked.depth).await
    }

    /// The best `limit` points of a leg, ties by chunk id.
    async fn best(&self, leg: Leg, limit: usize) -> Result<Vec<Found>, IndexError> {
        let mut found = self.candidates(&leg, limit).await?;
        found.truncate(limit);
        Ok(found)
    }

    /// All points of a leg that may be among its best `limit`, best first.
    async fn candidates(&self, leg: &Leg, limit: usize) -> Result<Vec<Found>, IndexError> {
        if limit == 0 || leg.is_empty() {
            return Ok(Vec::new());
        }
        let mut fetch = limit + OVER_FETCH;
        loop {
            let scored = self.fetch(leg, fetch).await?;
            let last = scored.last().map(|point| f64::from(point.score));
            let all = scored.len() < fetch || fetch >= MAX_FETCH;
            let mut found = self.admitted(leg, scored)?;
            found.sort_by(in_order);
            let floor = found.get(limit - 1).map(|end| least(least(end.score)));
            if all || floor.zip(last).is_some_and(|(floor, last)| last < floor) {
                found.retain(|found| floor.is_none_or(|floor| found.score >= floor));
                return Ok(found);
            }
            fetch = (fetch * GROWTH).min(MAX_FETCH);
        }
    }

    async fn fetch(&self, leg: &Leg, limit: usize) -> Result<Vec<ScoredPoint>, IndexError> {
        let request = QueryPoints {
            filter: Some(self.conditions.clone()),
            with_payload: Some(include(self.wanted())),
            ..self.ask(leg, limit)
        };
        let answer = self.server.read("searching", |client| {
            let request = request.clone();
            async move { client.query(request).await }
        });
        Ok(answer.await?.result)
    }

    fn ask(&self, leg: &Leg, limit: usize) -> QueryPoints {
        let (using, variant) = match leg {
            Leg::Dense { vector, .. } => {
                let dense = DenseVector { data: vector.clone() };
                (DENSE, vector_input::Variant::Dense(dense))
            }
            Leg::Lexical(terms) => (LEXICAL, vector_input::Variant::Sparse(terms.clone())),
        };
        let nearest = VectorInput {
            variant: Some(variant),
        };
        QueryPoints {
            collection_name: self.server.collection(),
            query: Some(Query {
                variant: Some(query::Variant::Nearest(nearest)),
            }),
            using: Some(using.to_owned()),
            params: leg.params(self.server.options.graph_breadth),
            limit: Some(limit as u64),
            ..QueryPoints::default()
        }
    }

    fn wanted(&self) -> Vec<&'static str> {
        let mut wanted = vec![CHUNK, DOCUMENT, GENERATION, ACL_REVISION, GATE];
        wanted.extend(self.scope.readers().map(|_| ACL_LONG));
        wanted.extend(self.checked.map(|_| FIELDS));
        wanted
    }

    /// The points that are the caller's, and of the lexical leg those that share a term.
    fn admitted(&self, leg: &Leg, scored: Vec<ScoredPoint>) -> Result<Vec<Found>, IndexError> {
        let mut found = Vec::with_capacity(scored.len());
        for scored in scored {
            let point = point_id(scored.id.as_ref())?;
            let lexical = matches!(leg, Leg::Lexical(_));
            if (!lexical || scored.score > 0.0) && self.admits(&Reading::of(point, &scored.payload))? {
                found.push(read(point, scored.score, &scored.payload)?);
            }
        }
        Ok(found)
    }

    /// What Qdrant could not be asked.
    fn admits(&self, reading: &Reading<'_>) -> Result<bool, IndexError> {
        if self.scope.readers().is_some()
            && !reading.text(ACL_LONG)?.is_empty()
            && !self.scope.admits(&reading.acl(ACL_LONG)?)
        {
            return Ok(false);
        }
        match self.checked {
            Some(filter) => Ok(filter.matches(&reading.fields()?)),
            None => Ok(true),
        }
    }

    /// Both scores of every candidate. One without a score shares no term, or has no vector.
    async fn with_true_scores(&self, union: BTreeMap<PointId, Hit>) -> Result<Vec<Hit>, IndexError> {
        let ids = Conditions::must([Condition::has_id(union.keys().copied().map(id))]);
        let ask = |leg: Leg| QueryPoints {
            filter: Some(ids.clone()),
            ..self.ask(&leg, union.len())
        };
        let legs = self.legs();
        if union.is_empty() || legs.is_empty() {
            return Ok(union.into_values().collect());
        }
        let request = QueryBatchPoints {
            collection_name: self.server.collection(),
            query_points: legs.iter().map(|(_, leg)| ask(leg.clone())).collect(),
            ..QueryBatchPoints::default()
        };
        let answer = self.server.read("scoring candidates", |client| {
            let request = request.clone();
            async move { client.query_batch(request).await }
        });
        let mut hits: HashMap<PointId, Hit> = union.into_iter().collect();
        for (batch, (set, _)) in answer.await?.result.into_iter().zip(legs) {
            for scored in batch.result {
                if let Some(hit) = hits.get_mut(&point_id(scored.id.as_ref())?) {
                    set(hit, f64::from(scored.score));
                }
            }
        }
        Ok(hits.into_values().collect())
    }

    /// The scores of a hit, and the legs that tell them.
    fn legs(&self) -> Vec<(SetScore, Leg)> {
        let lexical = &self.asked.lexical;
        let mut legs: Vec<(SetScore, Leg)> = vec![
            (
                |hit, score| hit.unigrams = score,
                Leg::Lexical(summed(lexical.unigrams.iter().copied())),
            ),
            (
                |hit, score| hit.bigrams = score,
                Leg::Lexical(summed(lexical.bigrams.iter().copied())),
            ),
        ];
        if let Some(vector) = self.dense {
            let vector = vector.to_vec();
            legs.push((|hit, score| hit.dense = score, Leg::Dense { vector, exact: true }));
        }
        legs.retain(|(_, leg)| !leg.is_empty());
        legs
    }
}

/// Only these parts of the payload.
pub(super) fn include(fields: Vec<&str>) -> WithPayloadSelector {
    let fields = fields.into_iter().map(str::to_owned).collect();
    WithPayloadSelector {
        selector_options: Some(SelectorOptions::Include(PayloadIncludeSelector { fields })),
    }
}

fn ranked(found: &Found) -> Ranked<ChunkId> {
    Ranked {
        id: found.hit.chunk,
        score: found.score,
    }
}

/// Best first, ties by chunk and then by point.
fn in_order(a: &Found, b: &Found) -> Ordering {
    compare(&ranked(a), &ranked(b)).then_with(|| a.hit.point.cmp(&b.hit.point))
}

fn read(point: PointId, score: f32, payload: &Payload) -> Result<Found, IndexError> {
    let reading = Reading::of(point, payload);
    Ok(Found {
        score: f64::from(score),
        gate: reading.number(GATE)? as f32,
        hit: Hit {
            point,
            chunk: reading.chunk()?,
            document: reading.document()?,
            generation: reading.generation()?,
            acl_revision: reading.integer(ACL_REVISION)?,
            dense: 0.0,
            unigrams: 0.0,
            bigrams: 0.0,
        },
    })
}
