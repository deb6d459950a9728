//! One order from two legs: F = B'/U + 0.6 g cos with B' = B + 0.1 g B2.
//!
//! Invariant: both scores of a candidate are its true ones, whichever leg found it; a missing score taken for 0 is
//! another formula.

use std::cmp::Ordering;

/// Weight of the bigram score inside B'.
pub const BIGRAM_WEIGHT: f64 = 0.1;
/// Weight of the cosine in F.
pub const DENSE_WEIGHT: f64 = 0.6;
/// Length of each leg's list of candidates.
pub const CANDIDATE_DEPTH: usize = 200;
/// Scores that agree to this many parts of one are equal, and the id decides.
const TIE_RESOLUTION: f64 = 1e6;

/// A document with both of its scores.
#[derive(Clone, Debug, PartialEq)]
pub struct FusionCandidate<Id> {
    /// Whose scores these are; decides ties.
    pub id: Id,
    /// B, at least 0.
    pub unigram: f64,
    /// B2, at least 0.
    pub bigram: f64,
    /// Cosine with the question, in [-1, 1].
    pub cosine: f64,
}

impl<Id> FusionCandidate<Id> {
    /// B' = B + 0.1 g B2.
    pub fn lexical_score(&self, gate: f64) -> f64 {
        self.unigram + BIGRAM_WEIGHT * gate * self.bigram
    }

    /// F = B'/U + 0.6 g cos.
    pub fn fused_score(&self, upper_bound: f64, gate: f64) -> f64 {
        self.lexical_score(gate) / upper_bound + DENSE_WEIGHT * gate * self.cosine
    }
}

/// A document in an order, with the score that placed it.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedHit<Id> {
    /// Whose score this is.
    pub id: Id,
    /// F, S, B' or a cosine, depending on who made the list.
    pub score: f64,
}

/// The order by F of the 200 best by B' (those above 0) and, if the gate is open at all, the 200 best by cosine.
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

/// [`fuse_scores`] where the orders of both legs are at hand.
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

/// The order by B' of the documents that share a term with the query.
pub fn rank_by_lexical<Id: Ord + Clone>(documents: &[FusionCandidate<Id>], gate: f64) -> Vec<RankedHit<Id>> {
    let matching = documents.iter().filter(|document| document.lexical_score(gate) > 0.0);
    rank_by_score(matching, |document| document.lexical_score(gate))
}

/// The order by cosine.
pub fn rank_by_cosine<Id: Ord + Clone>(documents: &[FusionCandidate<Id>]) -> Vec<RankedHit<Id>> {
    rank_by_score(documents.iter(), |document| document.cosine)
}

/// Best first; scores that are equal when rounded to 1e-6 go by id. The same rule holds for every index.
pub fn compare_hits<Id: Ord>(a: &RankedHit<Id>, b: &RankedHit<Id>) -> Ordering {
    // Adding zero turns -0 into 0, which `total_cmp` tells apart.
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
