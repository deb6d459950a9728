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
pub const DEPTH: usize = 200;
/// Scores that agree to this many parts of one are equal, and the id decides.
const TIE_RESOLUTION: f64 = 1e6;

/// A document with both of its scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<Id> {
    /// Whose scores these are; decides ties.
    pub id: Id,
    /// B, at least 0.
    pub unigram: f64,
    /// B2, at least 0.
    pub bigram: f64,
    /// Cosine with the question, in [-1, 1].
    pub cosine: f64,
}

impl<Id> Candidate<Id> {
    /// B' = B + 0.1 g B2.
    pub fn lexical(&self, gate: f64) -> f64 {
        self.unigram + BIGRAM_WEIGHT * gate * self.bigram
    }

    /// F = B'/U + 0.6 g cos.
    pub fn fused(&self, upper_bound: f64, gate: f64) -> f64 {
        self.lexical(gate) / upper_bound + DENSE_WEIGHT * gate * self.cosine
    }
}

/// A document in an order, with the score that placed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked<Id> {
    /// Whose score this is.
    pub id: Id,
    /// F, S, B' or a cosine, depending on who made the list.
    pub score: f64,
}

/// The order by F of the 200 best by B' (those above 0) and, if the gate is open at all, the 200 best by cosine.
pub fn fuse<Id: Ord + Clone>(documents: &[Candidate<Id>], upper_bound: f64, gate: f64) -> Vec<Ranked<Id>> {
    let lexical = by_lexical(documents, gate);
    let dense = match gate > 0.0 {
        true => by_cosine(documents),
        false => Vec::new(),
    };
    fuse_lists(documents, &lexical, &dense, upper_bound, gate)
}

/// [`fuse`] where the orders of both legs are at hand.
pub fn fuse_lists<Id: Ord + Clone>(
    documents: &[Candidate<Id>],
    lexical: &[Ranked<Id>],
    dense: &[Ranked<Id>],
    upper_bound: f64,
    gate: f64,
) -> Vec<Ranked<Id>> {
    let dense = dense.iter().take(if gate > 0.0 { DEPTH } else { 0 });
    let mut found: Vec<&Id> = lexical.iter().take(DEPTH).chain(dense).map(|hit| &hit.id).collect();
    found.sort_unstable();
    rank(
        documents
            .iter()
            .filter(|document| found.binary_search(&&document.id).is_ok()),
        |document| document.fused(upper_bound, gate),
    )
}

/// The order by B' of the documents that share a term with the query.
pub fn by_lexical<Id: Ord + Clone>(documents: &[Candidate<Id>], gate: f64) -> Vec<Ranked<Id>> {
    let matching = documents.iter().filter(|document| document.lexical(gate) > 0.0);
    rank(matching, |document| document.lexical(gate))
}

/// The order by cosine.
pub fn by_cosine<Id: Ord + Clone>(documents: &[Candidate<Id>]) -> Vec<Ranked<Id>> {
    rank(documents.iter(), |document| document.cosine)
}

/// Best first; scores that are equal when rounded to 1e-6 go by id. The same rule holds for every index.
pub fn compare<Id: Ord>(a: &Ranked<Id>, b: &Ranked<Id>) -> Ordering {
    // Adding zero turns -0 into 0, which `total_cmp` tells apart.
    let rounded = |score: f64| (score * TIE_RESOLUTION).round() + 0.0;
    rounded(b.score)
        .total_cmp(&rounded(a.score))
        .then_with(|| a.id.cmp(&b.id))
}

fn rank<'a, Id: Ord + Clone + 'a>(
    documents: impl Iterator<Item = &'a Candidate<Id>>,
    score: impl Fn(&Candidate<Id>) -> f64,
) -> Vec<Ranked<Id>> {
    let mut ranked: Vec<_> = documents
        .map(|document| Ranked {
            id: document.id.clone(),
            score: score(document),
        })
        .collect();
    ranked.sort_unstable_by(compare);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: u32, unigram: f64, bigram: f64, cosine: f64) -> Candidate<u32> {
        Candidate {
            id,
            unigram,
            bigram,
            cosine,
        }
    }

    fn ids(ranked: &[Ranked<u32>]) -> Vec<u32> {
        ranked.iter().map(|hit| hit.id).collect()
    }

    #[test]
    fn both_scores_count_for_every_candidate() {
        let documents = [
            candidate(1, 2.0, 0.0, 0.1),
            candidate(2, 0.0, 0.0, 0.9),
            candidate(3, 1.0, 2.0, 0.9),
        ];
        let fused = fuse(&documents, 4.0, 1.0);
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
        assert_eq!(ids(&fuse(&documents, 4.0, 0.0)), [3, 1]);
    }

    #[test]
    fn ties_after_rounding_go_by_id() {
        let documents = [
            candidate(9, 1.0, 0.0, 0.0),
            candidate(4, 1.000_000_1, 0.0, 0.0),
            candidate(7, 1.0, 0.0, 0.0),
        ];
        assert_eq!(ids(&by_lexical(&documents, 1.0)), [4, 7, 9]);
        assert_eq!(ids(&by_cosine(&documents)), [4, 7, 9]);
        assert_eq!(
            compare(&Ranked { id: 1, score: -1e-9 }, &Ranked { id: 2, score: 0.0 }),
            Ordering::Less
        );
    }

    #[test]
    fn each_leg_brings_its_depth() {
        let depth = DEPTH as u32;
        let lexical = (0..depth + 50).map(|id| candidate(id, 1.0 + f64::from(id), 0.0, 0.0));
        let dense = (1000..1000 + depth + 50).map(|id| candidate(id, 0.0, 0.0, 0.5));
        let documents: Vec<_> = lexical.chain(dense).collect();
        let found = ids(&fuse(&documents, 1.0, 1.0));
        assert_eq!(found.len(), 2 * DEPTH);
        assert!(!found.contains(&49) && found.contains(&50) && found.contains(&1000) && !found.contains(&1200));
    }
}
