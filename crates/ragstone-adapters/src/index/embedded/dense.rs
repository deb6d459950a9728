//! The dense leg: in large segments a look at the signs, then a scan of the coarse vectors, then exact scores of what
//! their bounds cannot rule out.
//!
//! Invariant: nothing is lost to the bounds of the coarse vectors, so in small segments the list is that of a comparison
//! with every candidate; what the signs rule out is wrong as seldom as [`SignEstimates::doubt`] says. One search runs on one
//! thread, which leaves the other cores to other searches.

use std::ops::Range;

use super::best::{Place, Scored, Shortlist, TIE, best};
use super::memory::Snapshot;
use super::slots::{Slots, WORD, runs};
use crate::index::vectors::bits::{BLOCK, SignBits, SignEstimates, SignQuestion};
use crate::index::vectors::{Estimates, QueryVector, RUN, Vectors};

/// Rounding of sums in single precision, and ties.
const SLACK: f32 = 4e-6 + TIE as f32;
/// Below any score, and above that of a slot without a vector.
const NO_FLOOR: f64 = f32::MIN as f64;

const _: () = assert!(RUN == WORD, "a word of slots is estimated in one go");

/// A question's vector over one snapshot.
#[derive(Debug)]
pub struct Dense<'a> {
    snapshot: &'a Snapshot,
    vector: QueryVector,
    /// None where no segment has signs.
    signs: Option<SignQuestion>,
}

impl<'a> Dense<'a> {
    /// Prepares `vector`.
    pub fn new(snapshot: &'a Snapshot, vector: &[f32]) -> Self {
        Self {
            snapshot,
            vector: QueryVector::new(vector),
            signs: snapshot
                .segments
                .iter()
                .find_map(|segment| segment.stored.bits())
                .map(|bits| bits.question(vector)),
        }
    }

    /// The best `limit` of the candidates of each segment by cosine, best first.
    pub fn best(&self, candidates: &[Slots], limit: usize) -> Vec<Scored> {
        let mut shortlist = Shortlist::new(limit, NO_FLOOR);
        for (segment, slots) in candidates.iter().enumerate() {
            let bits = self.snapshot.segments[segment].stored.bits();
            match bits.zip(self.signs.as_ref()) {
                Some((bits, signs)) => self.look_and_scan(segment, slots, (bits, signs), &mut shortlist),
                None => self.scan(segment, slots, &mut shortlist),
            }
        }
        let places: Vec<Place> = shortlist.finish().collect();
        let exact = self.cosines(&places);
        let scored = exact.map(|(place, cosine)| self.snapshot.scored(place, cosine));
        best(scored.collect(), limit)
    }

    /// The exact scores of places; 0 where there is no vector.
    pub fn cosines<'b>(&'b self, places: &'b [Place]) -> impl Iterator<Item = (Place, f64)> + 'b {
        let at = |place: &Place| (self.vectors(place.segment as usize), usize::from(place.slot));
        let next = places.iter().skip(1).map(Some).chain([None]);
        places.iter().zip(next).map(move |(place, next)| {
            if let Some((vectors, slot)) = next.map(at) {
                vectors.exact_soon(slot);
            }
            let (vectors, slot) = at(place);
            let cosine = vectors.has(slot).then(|| vectors.exact(slot, &self.vector));
            (*place, cosine.unwrap_or(0.0))
        })
    }

    fn vectors(&self, segment: usize) -> &'a Vectors {
        &self.snapshot.segments[segment].stored.vectors
    }

    fn scan(&self, segment: usize, slots: &Slots, found: &mut Shortlist<Place>) {
        let vectors = self.vectors(segment);
        let mut estimates = Estimates::default();
        let of = |(word, bits): (usize, &u64)| {
            let run = move |(start, length)| word * WORD + start..word * WORD + start + length;
            runs(*bits).map(run)
        };
        let mut runs = slots.words().iter().enumerate().flat_map(of).peekable();
        while let Some(run) = runs.next() {
            if let Some(next) = runs.peek() {
                vectors.estimated_soon(next.clone());
            }
            vectors.estimate(run.clone(), &self.vector, &mut estimates);
            keep(segment, run, &estimates, found);
        }
    }
}

/// Slots that are asked for together, so that the first has come when the last is asked for.
const TOGETHER: usize = 32;

impl Dense<'_> {
    /// Scans only what the signs do not rule out.
    fn look_and_scan(
        &self,
        segment: usize,
        slots: &Slots,
        (bits, signs): (&SignBits, &SignQuestion),
        found: &mut Shortlist<Place>,
    ) {
        let vectors = self.vectors(segment);
        let mut looks = SignEstimates::default();
        let mut waiting: Vec<usize> = Vec::with_capacity(TOGETHER + BLOCK);
        for (word, candidates) in slots.words().iter().enumerate().filter(|(_, word)| **word != 0) {
            for (block, candidates) in candidates.to_le_bytes().into_iter().enumerate() {
                if candidates == 0 {
                    continue;
                }
                let block = word * (WORD / BLOCK) + block;
                bits.look(block, signs, &mut looks);
                let floor = found.floor() as f32;
                let reaches = |at: &usize| looks.score[*at] + looks.doubt[*at] + SLACK >= floor;
                let asked = (0..BLOCK).filter(|at| candidates >> at & 1 == 1);
                for slot in asked.filter(reaches).map(|at| block * BLOCK + at) {
                    vectors.estimated_soon(slot..slot + 1);
                    waiting.push(slot);
                }
                if waiting.len() >= TOGETHER {
                    self.scan_waiting(segment, &mut waiting, found);
                }
            }
        }
        self.scan_waiting(segment, &mut waiting, found);
    }

    fn scan_waiting(&self, segment: usize, waiting: &mut Vec<usize>, found: &mut Shortlist<Place>) {
        let mut estimates = Estimates::default();
        for slot in waiting.drain(..) {
            self.vectors(segment)
                .estimate(slot..slot + 1, &self.vector, &mut estimates);
            keep(segment, slot..slot + 1, &estimates, found);
        }
    }
}

/// Keeps what may reach the floor; hardly ever more than none of a run.
fn keep(segment: usize, run: Range<usize>, estimates: &Estimates, found: &mut Shortlist<Place>) {
    let (scores, errors) = (&estimates.score[..run.len()], &estimates.error[..run.len()]);
    let floor = found.floor() as f32;
    let reaches = |(score, error): (&f32, &f32)| score + error + SLACK >= floor;
    if !scores.iter().zip(errors).fold(false, |any, one| any | reaches(one)) {
        return;
    }
    for (slot, (score, error)) in run.zip(scores.iter().zip(errors)) {
        if reaches((score, error)) {
            let place = Place {
                segment: segment as u32,
                slot: slot as u16,
            };
            let (least, most) = (score - error - SLACK, score + error + SLACK);
            found.push(f64::from(least), f64::from(most), place);
        }
    }
}
