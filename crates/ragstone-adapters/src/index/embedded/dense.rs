//! The dense leg: a scan of the coarse vectors, then exact scores of what their bounds cannot rule out.
//!
//! Invariant: nothing is lost to the bounds, so the list is that of a comparison with every candidate. One search runs
//! on one thread, which leaves the other cores to other searches.

use std::ops::Range;

use super::best::{Place, Scored, Shortlist, TIE, best};
use super::memory::Snapshot;
use super::slots::{Slots, WORD, runs};
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
}

impl<'a> Dense<'a> {
    /// Prepares `vector`.
    pub fn new(snapshot: &'a Snapshot, vector: &[f32]) -> Self {
        Self {
            snapshot,
            vector: QueryVector::new(vector),
        }
    }

    /// The best `limit` of the candidates of each segment by cosine, best first.
    pub fn best(&self, candidates: &[Slots], limit: usize) -> Vec<Scored> {
        let mut shortlist = Shortlist::new(limit, NO_FLOOR);
        for (segment, slots) in candidates.iter().enumerate() {
            self.scan(segment, slots, &mut shortlist);
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

/// Keeps what may reach the floor; hardly ever more than none of a run.
fn keep(segment: usize, run: Range<usize>, estimates: &Estimates, found: &mut Shortlist<Place>) {
    let (scores, errors) = (&estimates.score[..run.len()], &estimates.error[..run.len()]);
    let floor = found.floor() as f32;
    let reaches = |(score, error): (&f32, &f32)| score + error + SLACK >= floor;
    if !scores
        .iter()
        .zip(errors)
        .fold(false, |any, one| any | reaches(one))
    {
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
