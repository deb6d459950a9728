//! The dense leg: in large segments a pass over the sign bits, then a scan of the coarse vectors, then exact scores of
//! what their bounds cannot rule out.
//!
//! Invariant: the bounds of the coarse vectors lose nothing, so in small segments the result equals a comparison with
//! every candidate; the sign bits wrongly rule out a candidate as rarely as [`SignEstimates::doubt`] says. One search
//! runs on one thread, which leaves the other cores to other searches.

use std::ops::Range;

use super::best::{CandidateShortlist, ScoredSlot, SlotLocation, TIE, best_slots};
use super::memory::IndexSnapshot;
use super::slots::{SlotSet, WORD, bit_runs};
use crate::index::vectors::bits::{BLOCK, SignBits, SignEstimates, SignQuery};
use crate::index::vectors::{QueryVector, RUN, ScoreEstimates, VectorTable};

/// Allowance for rounding of sums in single precision, and for ties.
const SLACK: f32 = 4e-6 + TIE as f32;
/// Lower than any score, and higher than that of a slot without a vector.
const NO_FLOOR: f64 = f32::MIN as f64;

const _: () = assert!(RUN == WORD, "a word of slots is estimated in one go");

/// A query vector over one snapshot.
#[derive(Debug)]
pub struct DenseSearch<'a> {
    snapshot: &'a IndexSnapshot,
    vector: QueryVector,
    /// `None` if no segment has sign bits.
    signs: Option<SignQuery>,
}

impl<'a> DenseSearch<'a> {
    /// Prepares `vector` as a query on `snapshot`.
    pub fn new(snapshot: &'a IndexSnapshot, vector: &[f32]) -> Self {
        Self {
            snapshot,
            vector: QueryVector::new(vector),
            signs: snapshot
                .segments
                .iter()
                .find_map(|segment| segment.stored.sign_bits())
                .map(|bits| bits.prepare_query(vector)),
        }
    }

    /// Returns the best `limit` candidates of all segments by cosine, best first.
    pub fn best_slots(&self, candidates: &[SlotSet], limit: usize) -> Vec<ScoredSlot> {
        let mut shortlist = CandidateShortlist::new(limit, NO_FLOOR);
        for (segment, slots) in candidates.iter().enumerate() {
            let bits = self.snapshot.segments[segment].stored.sign_bits();
            match bits.zip(self.signs.as_ref()) {
                Some((bits, signs)) => self.scan_by_signs(segment, slots, (bits, signs), &mut shortlist),
                None => self.scan_segment(segment, slots, &mut shortlist),
            }
        }
        let places: Vec<SlotLocation> = shortlist.into_candidates().collect();
        let exact = self.exact_cosines(&places);
        let scored = exact.map(|(place, cosine)| self.snapshot.scored_slot(place, cosine));
        best_slots(scored.collect(), limit)
    }

    /// Exact cosines of the given locations; 0 for a slot without a vector.
    pub fn exact_cosines<'b>(&'b self, places: &'b [SlotLocation]) -> impl Iterator<Item = (SlotLocation, f64)> + 'b {
        let at = |place: &SlotLocation| (self.segment_vectors(place.segment as usize), usize::from(place.slot));
        let next = places.iter().skip(1).map(Some).chain([None]);
        places.iter().zip(next).map(move |(place, next)| {
            if let Some((vectors, slot)) = next.map(at) {
                vectors.prefetch_exact(slot);
            }
            let (vectors, slot) = at(place);
            let cosine = vectors
                .has_vector(slot)
                .then(|| vectors.exact_score(slot, &self.vector));
            (*place, cosine.unwrap_or(0.0))
        })
    }

    fn segment_vectors(&self, segment: usize) -> &'a VectorTable {
        &self.snapshot.segments[segment].stored.vectors
    }

    fn scan_segment(&self, segment: usize, slots: &SlotSet, found: &mut CandidateShortlist<SlotLocation>) {
        let vectors = self.segment_vectors(segment);
        let mut estimates = ScoreEstimates::default();
        let of = |(word, bits): (usize, &u64)| {
            let run = move |(start, length)| word * WORD + start..word * WORD + start + length;
            bit_runs(*bits).map(run)
        };
        let mut runs = slots.words().iter().enumerate().flat_map(of).peekable();
        while let Some(run) = runs.next() {
            if let Some(next) = runs.peek() {
                vectors.prefetch_estimate(next.clone());
            }
            vectors.estimate_scores(run.clone(), &self.vector, &mut estimates);
            push_candidates(segment, run, &estimates, found);
        }
    }
}

/// Slots that are prefetched together, so that the first has arrived when the last is requested.
const PREFETCH_SLOTS: usize = 32;

impl DenseSearch<'_> {
    /// Scans only slots that the sign bits do not rule out.
    fn scan_by_signs(
        &self,
        segment: usize,
        slots: &SlotSet,
        (bits, signs): (&SignBits, &SignQuery),
        found: &mut CandidateShortlist<SlotLocation>,
    ) {
        let vectors = self.segment_vectors(segment);
        let mut looks = SignEstimates::default();
        let mut waiting: Vec<usize> = Vec::with_capacity(PREFETCH_SLOTS + BLOCK);
        for (word, candidates) in slots.words().iter().enumerate().filter(|(_, word)| **word != 0) {
            for (block, candidates) in candidates.to_le_bytes().into_iter().enumerate() {
                if candidates == 0 {
                    continue;
                }
                let block = word * (WORD / BLOCK) + block;
                bits.estimate_block(block, signs, &mut looks);
                let floor = found.score_floor() as f32;
                let reaches = |at: &usize| looks.score[*at] + looks.doubt[*at] + SLACK >= floor;
                let asked = (0..BLOCK).filter(|at| candidates >> at & 1 == 1);
                for slot in asked.filter(reaches).map(|at| block * BLOCK + at) {
                    vectors.prefetch_estimate(slot..slot + 1);
                    waiting.push(slot);
                }
                if waiting.len() >= PREFETCH_SLOTS {
                    self.scan_waiting(segment, &mut waiting, found);
                }
            }
        }
        self.scan_waiting(segment, &mut waiting, found);
    }

    fn scan_waiting(&self, segment: usize, waiting: &mut Vec<usize>, found: &mut CandidateShortlist<SlotLocation>) {
        let mut estimates = ScoreEstimates::default();
        for slot in waiting.drain(..) {
            self.segment_vectors(segment)
                .estimate_scores(slot..slot + 1, &self.vector, &mut estimates);
            push_candidates(segment, slot..slot + 1, &estimates, found);
        }
    }
}

/// Adds the slots that may reach the floor; in most runs there is none.
fn push_candidates(
    segment: usize,
    run: Range<usize>,
    estimates: &ScoreEstimates,
    found: &mut CandidateShortlist<SlotLocation>,
) {
    let (scores, errors) = (&estimates.score[..run.len()], &estimates.error[..run.len()]);
    let floor = found.score_floor() as f32;
    let reaches = |(score, error): (&f32, &f32)| score + error + SLACK >= floor;
    if !scores.iter().zip(errors).fold(false, |any, one| any | reaches(one)) {
        return;
    }
    for (slot, (score, error)) in run.zip(scores.iter().zip(errors)) {
        if reaches((score, error)) {
            let place = SlotLocation {
                segment: segment as u32,
                slot: slot as u16,
            };
            let (least, most) = (score - error - SLACK, score + error + SLACK);
            found.push(f64::from(least), f64::from(most), place);
        }
    }
}
