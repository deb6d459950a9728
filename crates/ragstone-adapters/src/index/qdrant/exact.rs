//! Scores to the last digit: summed here from stored vectors, in the embedded index's own way.
//!
//! Qdrant multiplies in single precision, in an order that depends on the processor, and its scores are up to
//! [`SLACK`] away from ours. Rounding would hide that almost always and tear equal points apart at its edges; so what may
//! stand among the best is summed again, and only that.
//!
//! Invariant: equal points and questions give equal scores here and in the embedded index.

use std::collections::HashMap;

use qdrant_client::qdrant::GetPoints;
use ragstone_core::id::PointId;
use ragstone_core::rank::TermId;
use ragstone_core::rank::fusion::Candidate;
use ragstone_core::seam::index::{Hit, IndexError, IndexQuery, SearchMode};

use super::payload::{DENSE, LEXICAL, id, point_id};
use super::server::Server;
use super::stored::{StoredVectors, with};
use crate::index::vectors::{QueryVector, Vectors};

/// How far a score of Qdrant may be from ours, as a part of the score where that is more than one.
const SLACK: f64 = 4e-6;

/// The least score that may be `score` in truth.
pub(super) fn least(score: f64) -> f64 {
    score - SLACK * score.abs().max(1.0)
}

/// A point's scores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scores {
    pub dense: f64,
    pub unigrams: f64,
    pub bigrams: f64,
}

/// Scores points by their stored vectors, to the last digit.
pub(super) struct ExactScorer<'a> {
    asked: &'a IndexQuery,
    dense: Option<(usize, QueryVector)>,
}

impl<'a> ExactScorer<'a> {
    /// `dense` is the question's vector, if there is a dense leg.
    pub fn new(asked: &'a IndexQuery, dense: Option<&[f32]>) -> Self {
        Self {
            asked,
            dense: dense.map(|vector| (vector.len(), QueryVector::new(vector))),
        }
    }

    /// The scores of a point with these vectors.
    pub fn measure(&self, stored: &StoredVectors) -> Scores {
        let sum = |terms: &[(TermId, f64)]| {
            let shared = terms
                .iter()
                .filter_map(|(term, idf)| Some(f64::from(stored.weight(term.0)?) * idf));
            shared.sum::<f64>() + 0.0
        };
        Scores {
            dense: self.cosine(stored).unwrap_or(0.0),
            unigrams: sum(&self.asked.lexical.unigrams),
            bigrams: sum(&self.asked.lexical.bigrams),
        }
    }

    fn cosine(&self, stored: &StoredVectors) -> Option<f64> {
        let ((dimensions, question), vector) = self.dense.as_ref().zip(stored.dense.as_deref())?;
        let mut one = Vectors::with_capacity(*dimensions, 1);
        one.push(Some(vector).filter(|vector| vector.len() == *dimensions));
        one.has(0).then(|| one.exact(0, question))
    }

    /// Which hits may be among the best [`IndexQuery::exact`], by scores of Qdrant.
    pub fn head(&self, gate: f64, hits: &[Hit]) -> Vec<PointId> {
        let score = |hit: &Hit| self.placing(gate, hit);
        let mut scores: Vec<f64> = hits.iter().map(score).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let floor = match self.asked.exact.checked_sub(1) {
            None => return Vec::new(),
            // Both it and what is beside it may be off.
            Some(last) => scores.get(last).map_or(f64::MIN, |last| least(least(*last))),
        };
        let head = hits.iter().filter(|hit| score(hit) >= floor);
        head.map(|hit| hit.point).collect()
    }

    /// The score that places a hit in the mode's order.
    fn placing(&self, gate: f64, hit: &Hit) -> f64 {
        let candidate = Candidate {
            id: (),
            unigram: hit.unigrams,
            bigram: hit.bigrams,
            cosine: hit.dense,
        };
        let upper = self.asked.lexical.upper_bound;
        match (self.asked.mode, &self.dense) {
            (SearchMode::Dense, Some(_)) => hit.dense,
            (SearchMode::Hybrid, Some(_)) => candidate.fused(upper, gate),
            _ => candidate.lexical(gate) / upper,
        }
    }
}

/// Puts exact scores in place of Qdrant's.
pub(super) fn replace(hits: &mut [Hit], exact: &HashMap<PointId, Scores>) {
    for hit in hits {
        if let Some(scores) = exact.get(&hit.point) {
            (hit.dense, hit.unigrams, hit.bigrams) = (scores.dense, scores.unigrams, scores.bigrams);
        }
    }
}

/// The scores of points by their stored vectors.
pub(super) async fn measured(
    server: &Server,
    scorer: &ExactScorer<'_>,
    points: &[PointId],
) -> Result<HashMap<PointId, Scores>, IndexError> {
    if points.is_empty() {
        return Ok(HashMap::new());
    }
    let names: &[&str] = match scorer.dense {
        Some(_) => &[DENSE, LEXICAL],
        None => &[LEXICAL],
    };
    let request = GetPoints {
        collection_name: server.collection(),
        ids: points.iter().copied().map(id).collect(),
        with_payload: Some(false.into()),
        with_vectors: Some(with(names)),
        ..GetPoints::default()
    };
    let answer = server.read("reading vectors", |client| {
        let request = request.clone();
        async move { client.get_points(request).await }
    });
    let found = answer.await?.result.into_iter().map(|mut found| {
        let point = point_id(found.id.as_ref())?;
        Ok((point, scorer.measure(&StoredVectors::take(&mut found))))
    });
    found.collect()
}
