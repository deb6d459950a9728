//! Exact scores: computed here from stored vectors, in the same way as the embedded index.
//!
//! Qdrant multiplies in single precision, in an order that depends on the processor, and its scores differ from ours
//! by up to [`SLACK`]. Rounding would hide that almost always but separate equal points at its edges; so the points
//! that may be among the best are scored again, and only those.
//!
//! Invariant: equal points and queries give equal scores here and in the embedded index.

use std::collections::HashMap;

use qdrant_client::qdrant::GetPoints;
use ragstone_core::id::PointId;
use ragstone_core::rank::TermId;
use ragstone_core::rank::fusion::FusionCandidate;
use ragstone_core::seam::index::{IndexError, IndexHit, IndexQuery, SearchMode};

use super::payload::{DENSE, LEXICAL, parse_point_id, qdrant_id};
use super::server::QdrantClient;
use super::stored::{StoredVectors, include_vectors};
use crate::index::vectors::{QueryVector, VectorTable};

/// How far a score of Qdrant may be from ours; relative for scores above 1, else absolute.
const SLACK: f64 = 4e-6;

/// Lower bound of the true score for a score of Qdrant.
pub(super) fn score_lower_bound(score: f64) -> f64 {
    score - SLACK * score.abs().max(1.0)
}

/// Scores of a point, one for each leg.
#[derive(Debug, Clone, Copy)]
pub(super) struct PointScores {
    pub dense: f64,
    pub unigrams: f64,
    pub bigrams: f64,
}

/// Computes exact scores of points from their stored vectors.
pub(super) struct ExactScorer<'a> {
    asked: &'a IndexQuery,
    dense: Option<(usize, QueryVector)>,
}

impl<'a> ExactScorer<'a> {
    /// `dense` is the query's vector, if there is a dense leg.
    pub fn new(asked: &'a IndexQuery, dense: Option<&[f32]>) -> Self {
        Self {
            asked,
            dense: dense.map(|vector| (vector.len(), QueryVector::new(vector))),
        }
    }

    /// Scores of a point with these vectors.
    pub fn score_point(&self, stored: &StoredVectors) -> PointScores {
        let sum = |terms: &[(TermId, f64)]| {
            let shared = terms
                .iter()
                .filter_map(|(term, idf)| Some(f64::from(stored.term_weight(term.0)?) * idf));
            shared.sum::<f64>() + 0.0
        };
        PointScores {
            dense: self.exact_cosine(stored).unwrap_or(0.0),
            unigrams: sum(&self.asked.lexical.unigrams),
            bigrams: sum(&self.asked.lexical.bigrams),
        }
    }

    fn exact_cosine(&self, stored: &StoredVectors) -> Option<f64> {
        let ((dimensions, question), vector) = self.dense.as_ref().zip(stored.dense.as_deref())?;
        let mut one = VectorTable::with_capacity(*dimensions, 1);
        one.push(Some(vector).filter(|vector| vector.len() == *dimensions));
        one.has_vector(0).then(|| one.exact_score(0, question))
    }

    /// Hits that may be among the best [`IndexQuery::exact_count`], by scores of Qdrant.
    pub fn top_candidates(&self, gate: f64, hits: &[IndexHit]) -> Vec<PointId> {
        let score = |hit: &IndexHit| self.ranking_score(gate, hit);
        let mut scores: Vec<f64> = hits.iter().map(score).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let floor = match self.asked.exact_count.checked_sub(1) {
            None => return Vec::new(),
            // Both this score and the compared one may be off.
            Some(last) => scores
                .get(last)
                .map_or(f64::MIN, |last| score_lower_bound(score_lower_bound(*last))),
        };
        let head = hits.iter().filter(|hit| score(hit) >= floor);
        head.map(|hit| hit.point).collect()
    }

    /// Score by which the mode sorts.
    fn ranking_score(&self, gate: f64, hit: &IndexHit) -> f64 {
        let candidate = FusionCandidate {
            id: (),
            unigram: hit.unigrams,
            bigram: hit.bigrams,
            cosine: hit.dense,
        };
        let upper = self.asked.lexical.upper_bound;
        match (self.asked.mode, &self.dense) {
            (SearchMode::Dense, Some(_)) => hit.dense,
            (SearchMode::Hybrid, Some(_)) => candidate.fused_score(upper, gate),
            _ => candidate.lexical_score(gate) / upper,
        }
    }
}

/// Replaces Qdrant's scores by exact ones.
pub(super) fn replace_scores(hits: &mut [IndexHit], exact: &HashMap<PointId, PointScores>) {
    for hit in hits {
        if let Some(scores) = exact.get(&hit.point) {
            (hit.dense, hit.unigrams, hit.bigrams) = (scores.dense, scores.unigrams, scores.bigrams);
        }
    }
}

/// Exact scores of points, from their stored vectors.
pub(super) async fn score_points(
    server: &QdrantClient,
    scorer: &ExactScorer<'_>,
    points: &[PointId],
) -> Result<HashMap<PointId, PointScores>, IndexError> {
    if points.is_empty() {
        return Ok(HashMap::new());
    }
    let names: &[&str] = match scorer.dense {
        Some(_) => &[DENSE, LEXICAL],
        None => &[LEXICAL],
    };
    let request = GetPoints {
        collection_name: server.collection_name(),
        ids: points.iter().copied().map(qdrant_id).collect(),
        with_payload: Some(false.into()),
        with_vectors: Some(include_vectors(names)),
        ..GetPoints::default()
    };
    let answer = server.send_read("reading vectors", |client| {
        let request = request.clone();
        async move { client.get_points(request).await }
    });
    let found = answer.await?.result.into_iter().map(|mut found| {
        let point = parse_point_id(found.id.as_ref())?;
        Ok((point, scorer.score_point(&StoredVectors::take_from(&mut found))))
    });
    found.collect()
}
