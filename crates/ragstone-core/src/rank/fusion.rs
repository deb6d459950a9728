//! Fuses the lexical and the dense leg into one order: F = B'/U + 0.6 g cos with B' = B + 0.1 g B2.
//!
//! Invariant: both scores of a candidate are its true ones, whichever leg found it; counting a missing score as 0 would
//! be another formula.

use std::cmp::Ordering;

/// Weight of the bigram score inside B'.
pub const BIGRAM_WEIGHT: f64 = 0.1;
/// Weight of the cosine in F.
pub const DENSE_WEIGHT: f64 = 0.6;
/// Length of each leg's list of candidates.
pub const CANDIDATE_DEPTH: usize = 200;
/// Scores are rounded to one part in this many; the id orders equal ones.
const TIE_RESOLUTION: f64 = 1e6;

/// A document with both of its scores.
#[derive(Clone, Debug, PartialEq)]
pub struct FusionCandidate<Id> {
    /// Id of the document; breaks ties.
    pub id: Id,
    /// B: BM25 score of single terms, at least 0.
    pub unigram: f64,
    /// B2: BM25 score of pairs of terms, at least 0.
    pub bigram: f64,
    /// Cosine with the question, in [-1, 1].
    pub cosine: f64,
}

impl<Id> FusionCandidate<Id> {
    /// B' = B + 0.1 g B2, where `gate` is g.
    pub fn lexical_score(&self, gate: f64) -> f64 {
        self.unigram + BIGRAM_WEIGHT * gate * self.bigram
    }

    /// F = B'/U + 0.6 g cos, where `upper_bound` is U (above 0) and `gate` is g.
    pub fn fused_score(&self, upper_bound: f64, gate: f64) -> f64 {
        self.lexical_score(gate) / upper_bound + DENSE_WEIGHT * gate * self.cosine
    }
}

/// A document in a ranked list, with the score that placed it.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedHit<Id> {
    /// Id of the document.
    pub id: Id,
    /// F, S, B' or a cosine, depending on the list.
    pub score: f64,
}

/// Ranks by F the 200 best by B' (those above 0) and, if the gate is above 0, the 200 best by cosine.
pub fn fuse_scores<Id: Ord + Clone>(
    documents: &[FusionCandidate<Id>],
    upper_bound: f64,
    gate: f64,
) -> Vec<RankedHit<Id>> {
    let lexical = rank_by_lexical(documents, gate);
    let dense = match gate > 0.0 {
        true => rank_by_cosine(documents),
        false => Vec::new(),
    };
    fuse_ranked_lists(documents, &lexical, &dense, upper_bound, gate)
}

/// [`fuse_scores`] for callers that have the ranked lists of both legs already.
pub fn fuse_ranked_lists<Id: Ord + Clone>(
    documents: &[FusionCandidate<Id>],
    lexical: &[RankedHit<Id>],
    dense: &[RankedHit<Id>],
    upper_bound: f64,
    gate: f64,
) -> Vec<RankedHit<Id>> {
    let dense = dense.iter().take(if gate > 0.0 { CANDIDATE_DEPTH } else { 0 });
    let mut found: Vec<&Id> = lexical
        .iter()
        .take(CANDIDATE_DEPTH)
        .chain(dense)
        .map(|hit| &hit.id)
        .collect();
    found.sort_unstable();
    rank_by_score(
        documents
            .iter()
            .filter(|document| found.binary_search(&&document.id).is_ok()),
        |document| document.fused_score(upper_bound, gate),
    )
}

/// Ranks by B' the documents that share a term with the query.
pub fn rank_by_lexical<Id: Ord + Clone>(documents: &[FusionCandidate<Id>], gate: f64) -> Vec<RankedHit<Id>> {
    let matching = documents.iter().filter(|document| document.lexical_score(gate) > 0.0);
    rank_by_score(matching, |document| document.lexical_score(gate))
}

/// Ranks all documents by cosine.
pub fn rank_by_cosine<Id: Ord + Clone>(documents: &[FusionCandidate<Id>]) -> Vec<RankedHit<Id>> {
    rank_by_score(documents.iter(), |document| document.cosine)
}

/// Orders best first; scores that are equal when rounded to 1e-6 are ordered by id. Every index uses this rule.
pub fn compare_hits<Id: Ord>(a: &RankedHit<Id>, b: &RankedHit<Id>) -> Ordering {
    // Adding zero turns -0 into 0; `total_cmp` distinguishes them.
    let rounded = |score: f64| (score * TIE_RESOLUTION).round() + 0.0;
    rounded(b.score)
        .total_cmp(&rounded(a.score))
        .then_with(|| a.id.cmp(&b.id))
}

fn rank_by_score<'a, Id: Ord + Clone + 'a>(
    documents: impl Iterator<Item = &'a FusionCandidate<Id>>,
    score: impl Fn(&FusionCandidate<Id>) -> f64,
) -> Vec<RankedHit<Id>> {
    let mut ranked: Vec<_> = documents
        .map(|document| RankedHit {
            id: document.id.clone(),
            score: score(document),
        })
        .collect();
    ranked.sort_unstable_by(compare_hits);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: u32, unigram: f64, bigram: f64, cosine: f64) -> FusionCandidate<u32> {
        FusionCandidate {
            id,
            unigram,
            bigram,
            cosine,
        }
    }

    fn ids(ranked: &[RankedHit<u32>]) -> Vec<u32> {
        ranked.iter().map(|hit| hit.id).collect()
    }

    #[test]
    fn both_scores_count_for_every_candidate() {
        let documents = [
            candidate(1, 2.0, 0.0, 0.1),
            candidate(2, 0.0, 0.0, 0.9),
            candidate(3, 1.0, 2.0, 0.9),
        ];
        let fused = fuse_scores(&documents, 4.0, 1.0);
        assert_eq!(ids(&fused), [3, 1, 2]);
        assert!((fused[0].score - (1.2 / 4.0 + 0.54)).abs() < 1e-12);
    }

    #[test]
    fn a_shut_gate_leaves_the_lexical_leg_alone() {
        let documents = [
            candidate(1, 1.0, 9.0, 0.0),
            candidate(2, 0.0, 0.0, 0.9),
            candidate(3, 2.0, 0.0, -1.0),
        ];
        assert_eq!(ids(&fuse_scores(&documents, 4.0, 0.0)), [3, 1]);
    }

    #[test]
    fn ties_after_rounding_go_by_id() {
        let documents = [
            candidate(9, 1.0, 0.0, 0.0),
            candidate(4, 1.000_000_1, 0.0, 0.0),
            candidate(7, 1.0, 0.0, 0.0),
        ];
        assert_eq!(ids(&rank_by_lexical(&documents, 1.0)), [4, 7, 9]);
        assert_eq!(ids(&rank_by_cosine(&documents)), [4, 7, 9]);
        assert_eq!(
            compare_hits(&RankedHit { id: 1, score: -1e-9 }, &RankedHit { id: 2, score: 0.0 }),
            Ordering::Less
        );
    }

    #[test]
    fn each_leg_brings_its_depth() {
        let depth = CANDIDATE_DEPTH as u32;
        let lexical = (0..depth + 50).map(|id| candidate(id, 1.0 + f64::from(id), 0.0, 0.0));
        let dense = (1000..1000 + depth + 50).map(|id| candidate(id, 0.0, 0.0, 0.5));
        let documents: Vec<_> = lexical.chain(dense).collect();
        let found = ids(&fuse_scores(&documents, 1.0, 1.0));
        assert_eq!(found.len(), 2 * CANDIDATE_DEPTH);
        assert!(!found.contains(&49) && found.contains(&50) && found.contains(&1000) && !found.contains(&1200));
    }
}
