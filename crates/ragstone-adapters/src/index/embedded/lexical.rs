//! The lexical leg: one pass over the postings of a segment, one over its scores.
//!
//! Invariant: a slot's score is the sum over the query's terms in their order, whichever way it is computed, so it is
//! the same number in every process.

use std::cell::RefCell;
use std::sync::Arc;

use ragstone_core::rank::{BIGRAM_WEIGHT, LexicalQuery, TermId};

use super::best::{CandidateShortlist, SlotLocation, TIE};
use super::memory::IndexSnapshot;
use super::postings::{PostingList, Postings};
use super::segment::IndexSegment;
use super::slots::{SlotSet, WORD, bit_positions};

/// Cost of a look-up, in postings read sequentially.
const LOOK_UP_COST: usize = 16;

/// Lexical scores of a candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LexicalCandidate {
    /// Location of the candidate.
    pub place: SlotLocation,
    /// B, the score of single terms.
    pub unigrams: f64,
    /// B2, the score of pairs of terms.
    pub bigrams: f64,
}

impl LexicalCandidate {
    /// Score by which the list is sorted: B' at `gate`.
    pub fn score(&self, gate: f64) -> f64 {
        self.unigrams + BIGRAM_WEIGHT * gate * self.bigrams
    }
}

/// Returns every candidate that may be among the best `limit` by [`LexicalCandidate::score`] for any gate from 0 (B
/// alone) to `most_gate`. Bigrams are weighted between zero and `most_gate`, which bounds each score.
pub fn shortlist_candidates(
    snapshot: &IndexSnapshot,
    candidates: &[SlotSet],
    asked: &LexicalQuery,
    most_gate: f64,
    limit: usize,
) -> Vec<LexicalCandidate> {
    let mut pass = LexicalScan {
        most_gate,
        found: CandidateShortlist::new(limit, f64::NEG_INFINITY),
    };
    for (number, (segment, slots)) in snapshot.segments.iter().zip(candidates).enumerate() {
        let terms = QueryPostings::for_segment(segment, asked);
        let count = slots.count();
        if count == 0 || terms.is_empty() {
            continue;
        }
        match count * terms.list_count() * LOOK_UP_COST < terms.posting_count() {
            true => pass.look_up(number, &terms, slots),
            false => pass.scan_postings(number, segment, &terms, slots),
        }
    }
    pass.found.into_candidates().collect()
}

/// Computes both scores of the given locations.
pub fn score_locations(
    snapshot: &IndexSnapshot,
    asked: &LexicalQuery,
    mut places: Vec<SlotLocation>,
) -> Vec<LexicalCandidate> {
    places.sort_unstable();
    let mut found = Vec::with_capacity(places.len());
    for of_one in places.chunk_by(|a, b| a.segment == b.segment) {
        let segment = &snapshot.segments[of_one[0].segment as usize];
        let slots: Vec<u16> = of_one.iter().map(|place| place.slot).collect();
        let (unigrams, bigrams) = QueryPostings::for_segment(segment, asked).look_up(&slots);
        let scores = of_one.iter().zip(unigrams.into_iter().zip(bigrams));
        found.extend(scores.map(|(place, (unigrams, bigrams))| LexicalCandidate {
            place: *place,
            unigrams,
            bigrams,
        }));
    }
    found
}

/// Posting lists of a query's terms in one segment, with the idf of each, in the query's order.
struct QueryPostings<'a> {
    unigrams: Vec<(PostingList<'a>, f64)>,
    bigrams: Vec<(PostingList<'a>, f64)>,
}

impl<'a> QueryPostings<'a> {
    fn for_segment(segment: &'a Arc<IndexSegment>, asked: &LexicalQuery) -> Self {
        fn non_empty_lists<'a>(postings: &'a Postings, terms: &[(TermId, f64)]) -> Vec<(PostingList<'a>, f64)> {
            let lists = terms.iter().map(|(term, idf)| (postings.postings_of(*term), *idf));
            lists.filter(|(list, _)| !list.slots.is_empty()).collect()
        }
        Self {
            unigrams: non_empty_lists(&segment.stored.unigrams, &asked.unigrams),
            bigrams: non_empty_lists(&segment.stored.bigrams, &asked.bigrams),
        }
    }

    fn is_empty(&self) -> bool {
        self.list_count() == 0
    }

    fn list_count(&self) -> usize {
        self.unigrams.len() + self.bigrams.len()
    }

    fn posting_count(&self) -> usize {
        let both = self.unigrams.iter().chain(&self.bigrams);
        both.map(|(list, _)| list.slots.len()).sum()
    }

    /// B and B2 of `slots`, which are ascending.
    fn look_up(&self, slots: &[u16]) -> (Vec<f64>, Vec<f64>) {
        let side = |lists: &[(PostingList<'_>, f64)]| {
            let mut sums = vec![0.0; slots.len()];
            for (list, idf) in lists {
                add_list_scores(*list, *idf, slots, &mut sums);
            }
            sums
        };
        (side(&self.unigrams), side(&self.bigrams))
    }
}

fn add_list_scores(list: PostingList<'_>, idf: f64, slots: &[u16], sums: &mut [f64]) {
    let mut from = 0;
    for (slot, sum) in slots.iter().zip(sums) {
        match list.slots[from..].binary_search(slot) {
            Ok(at) => {
                *sum += f64::from(list.weights[from + at]) * idf;
                from += at + 1;
            }
            Err(at) => from += at,
        }
    }
}

thread_local! {
    /// Scores by slot, B then B2, reused by the next search of the thread: allocating costs more than filling.
    static SCORES: RefCell<Vec<[f64; WORD]>> = const { RefCell::new(Vec::new()) };
}

struct LexicalScan {
    most_gate: f64,
    found: CandidateShortlist<LexicalCandidate>,
}

impl LexicalScan {
    fn look_up(&mut self, number: usize, terms: &QueryPostings<'_>, slots: &SlotSet) {
        let slots: Vec<u16> = slots.iter().collect();
        let (unigrams, bigrams) = terms.look_up(&slots);
        for (slot, scores) in slots.into_iter().zip(unigrams.into_iter().zip(bigrams)) {
            self.push(number, slot, scores);
        }
    }

    fn scan_postings(&mut self, number: usize, segment: &IndexSegment, terms: &QueryPostings<'_>, slots: &SlotSet) {
        let words = segment.stored.points.len().div_ceil(WORD);
        SCORES.with_borrow_mut(|scores| {
            if scores.len() < 2 * words {
                scores.resize(2 * words, [0.0; WORD]);
            }
            let (unigrams, rest) = scores.split_at_mut(words);
            let bigrams = &mut rest[..words];
            sum_scores(&terms.unigrams, unigrams.as_flattened_mut());
            sum_scores(&terms.bigrams, bigrams.as_flattened_mut());
            let scores = unigrams.iter().zip(bigrams.iter());
            for (word, (candidates, (unigrams, bigrams))) in slots.words().iter().zip(scores).enumerate() {
                if *candidates != 0 && self.any_reaches(unigrams, bigrams) {
                    for bit in bit_positions(*candidates) {
                        let scores = (unigrams[usize::from(bit)], bigrams[usize::from(bit)]);
                        self.push(number, (word * WORD) as u16 + bit, scores);
                    }
                }
            }
        });
    }

    /// Whether any slot of a word may reach the floor, candidate or not: one check for many slots, in wide registers.
    fn any_reaches(&self, unigrams: &[f64; WORD], bigrams: &[f64; WORD]) -> bool {
        let weight = BIGRAM_WEIGHT * self.most_gate;
        let floor = (self.found.score_floor() - TIE).max(f64::MIN_POSITIVE);
        let scores = unigrams.iter().zip(bigrams);
        scores.fold(false, |any, (unigrams, bigrams)| {
            any | (unigrams + weight * bigrams >= floor)
        })
    }

    fn push(&mut self, segment: usize, slot: u16, (unigrams, bigrams): (f64, f64)) {
        let place = SlotLocation {
            segment: segment as u32,
            slot,
        };
        let found = LexicalCandidate {
            place,
            unigrams,
            bigrams,
        };
        let most = found.score(self.most_gate);
        if most > 0.0 {
            self.found.push(unigrams - TIE, most + TIE, found);
        }
    }
}

/// Writes each slot's score to `scores`.
fn sum_scores(lists: &[(PostingList<'_>, f64)], scores: &mut [f64]) {
    scores.fill(0.0);
    for (list, idf) in lists {
        for (slot, weight) in list.slots.iter().zip(list.weights) {
            scores[usize::from(*slot)] += f64::from(*weight) * idf;
        }
    }
}
