//! Reference results of a search, by brute force over all points.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::access::ScopedQuery;
use crate::id::{ChunkId, PointId};
use crate::rank::{BIGRAM_WEIGHT, TermId};
use crate::seam::index::{IndexHit, IndexHits, IndexPoint, IndexQuery, SearchMode};

/// Scores are compared after rounding to this.
const TIE: f64 = 1e-6;
/// Number of top lexical hits whose gates are averaged into the query's gate.
const GATE_POINTS: usize = 10;

/// What a search over the visible ones of `points` must find.
pub fn expected<'a>(points: impl IntoIterator<Item = &'a IndexPoint>, query: &ScopedQuery<IndexQuery>) -> IndexHits {
    let asked = query.query();
    let scored: Vec<(&IndexPoint, IndexHit)> = points
        .into_iter()
        .filter(|point| may_be_found(point, query))
        .map(|point| (point, score(point, asked)))
        .collect();
    let gate = gate(&scored, asked);
    let mut found: HashMap<PointId, IndexHit> = HashMap::new();
    if asked.mode != SearchMode::Lexical {
        found.extend(best(&scored, asked.depth, cosine(asked)));
    }
    if asked.mode != SearchMode::Dense {
        let lexical = |_: &IndexPoint, hit: &IndexHit| Some(hit.unigrams + BIGRAM_WEIGHT * gate * hit.bigrams);
        found.extend(best(&scored, asked.depth, positive(lexical)));
    }
    IndexHits {
        gate,
        hits: found.into_values().collect(),
    }
}

fn may_be_found(point: &IndexPoint, query: &ScopedQuery<IndexQuery>) -> bool {
    let generation = (point.chunk.document_id, point.generation);
    query.scope().admits(&point.acl)
        && query
            .collection()
            .is_none_or(|collection| *collection == point.collection)
        && query.filter().is_none_or(|filter| filter.matches(&point.fields))
        && !query.query().excluded.contains(&generation)
}

fn score(point: &IndexPoint, asked: &IndexQuery) -> IndexHit {
    let vectors = asked.dense.as_ref().zip(point.dense.as_ref());
    let dense = vectors.map_or(0.0, |(q, d)| {
        q.iter().zip(d).map(|(q, d)| f64::from(*q) * f64::from(*d)).sum()
    });
    IndexHit {
        point: point.id,
        chunk: point.chunk.id,
        document: point.chunk.document_id,
        generation: point.generation,
        acl_revision: point.acl_revision,
        dense,
        unigrams: shared(&asked.lexical.unigrams, &point.lexical.unigrams),
        bigrams: shared(&asked.lexical.bigrams, &point.lexical.bigrams),
    }
}

fn shared(question: &[(TermId, f64)], document: &[(TermId, f32)]) -> f64 {
    let weights: HashMap<TermId, f32> = document.iter().copied().collect();
    let product = |(term, idf): &(TermId, f64)| Some(f64::from(*weights.get(term)?) * idf);
    question.iter().filter_map(product).sum()
}

fn gate(scored: &[(&IndexPoint, IndexHit)], asked: &IndexQuery) -> f64 {
    let mut tops = best(scored, GATE_POINTS, positive(|_, hit| Some(hit.unigrams)));
    if tops.is_empty() {
        tops = best(scored, GATE_POINTS, cosine(asked));
    }
    let gates: HashMap<PointId, f32> = scored.iter().map(|(point, _)| (point.id, point.gate)).collect();
    let sum: f64 = tops.keys().map(|point| f64::from(gates[point])).sum();
    match tops.len() {
        0 => 0.0,
        points => asked.query_gate * sum / points as f64,
    }
}

fn cosine(asked: &IndexQuery) -> impl Fn(&IndexPoint, &IndexHit) -> Option<f64> {
    let asks = asked.dense.is_some();
    move |point, hit| (asks && point.dense.is_some()).then_some(hit.dense)
}

fn positive(score: impl Fn(&IndexPoint, &IndexHit) -> Option<f64>) -> impl Fn(&IndexPoint, &IndexHit) -> Option<f64> {
    move |point, hit| score(point, hit).filter(|score| *score > 0.0)
}

fn best(
    scored: &[(&IndexPoint, IndexHit)],
    limit: usize,
    score: impl Fn(&IndexPoint, &IndexHit) -> Option<f64>,
) -> HashMap<PointId, IndexHit> {
    let key = |(point, hit): &(&IndexPoint, IndexHit)| {
        let rounded = (score(point, hit)? / TIE).round() as i64;
        Some((Reverse(rounded), hit.chunk, hit.point, hit.clone()))
    };
    let mut list: Vec<(Reverse<i64>, ChunkId, PointId, IndexHit)> = scored.iter().filter_map(key).collect();
    list.sort_by_key(|(score, chunk, point, _)| (*score, *chunk, *point));
    list.truncate(limit);
    list.into_iter().map(|(_, _, point, hit)| (point, hit)).collect()
}

/// Panics unless both found the same points with the same scores, to within a rounding error.
#[track_caller]
pub fn assert_same(found: &IndexHits, wanted: &IndexHits, case: &str) {
    let near = |a: f64, b: f64| (a - b).abs() < 2e-6;
    assert!(
        near(found.gate, wanted.gate),
        "{case}: gate {} for {}",
        found.gate,
        wanted.gate
    );
    let sorted = |hits: &IndexHits| {
        let mut hits = hits.hits.clone();
        hits.sort_by_key(|hit| hit.point);
        hits
    };
    let (found, wanted) = (sorted(found), sorted(wanted));
    let points = |hits: &[IndexHit]| hits.iter().map(|hit| hit.point).collect::<Vec<_>>();
    assert_eq!(points(&found), points(&wanted), "{case}: other points");
    for (found, wanted) in found.iter().zip(&wanted) {
        let fits = near(found.dense, wanted.dense)
            && near(found.unigrams, wanted.unigrams)
            && near(found.bigrams, wanted.bigrams)
            && (found.chunk, found.document) == (wanted.chunk, wanted.document)
            && (found.generation, found.acl_revision) == (wanted.generation, wanted.acl_revision);
        assert!(fits, "{case}: {found:?} for {wanted:?}");
    }
}
