//! The scan of the vectors: pieces that any thread may take, gathered in one shortlist.
//!
//! Invariant: the shortlist holds every candidate that may be among the best, whoever scanned its piece. Nobody waits
//! for anybody: a piece that a helper took and has not brought is scanned again by whoever needs the answer.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::best::{Place, Scored, Shortlist, TIE, best};
use super::memory::Snapshot;
use super::slots::{Slots, WORD, runs};
use super::vectors::{Estimates, QueryVector, RUN, Vectors};
use crate::sqlite::lock;

/// Candidates of a piece, about: small enough to be scanned again, large enough to be worth a lock.
const PIECE: usize = 2_048;
/// Fewer bytes are scanned sooner than a second thread has begun.
const WORTH_HELP: usize = 4 << 20;
/// Rounding of sums in single precision, and ties.
const SLACK: f32 = 4e-6 + TIE as f32;
/// Below any score, and above that of a slot without a vector.
const NO_FLOOR: f64 = f32::MIN as f64;

const _: () = assert!(RUN == WORD, "a word of slots is estimated in one go");

/// One search's scan.
#[derive(Debug)]
pub struct Scan {
    snapshot: Arc<Snapshot>,
    /// By segment.
    candidates: Arc<Vec<Slots>>,
    vector: QueryVector,
    limit: usize,
    pieces: Vec<Piece>,
    worth_help: bool,
    next: AtomicUsize,
    gathered: Mutex<Gathered>,
}

/// Words of one segment's candidates.
#[derive(Debug, Clone)]
struct Piece {
    segment: usize,
    words: Range<usize>,
}

#[derive(Debug)]
struct Gathered {
    brought: Vec<bool>,
    shortlist: Shortlist<Place>,
}

impl Scan {
    /// A scan of `candidates` for the best `limit`.
    pub fn new(
        snapshot: Arc<Snapshot>,
        candidates: Arc<Vec<Slots>>,
        vector: &[f32],
        limit: usize,
    ) -> Self {
        let pieces: Vec<Piece> = candidates
            .iter()
            .enumerate()
            .flat_map(|(segment, slots)| pieces(segment, slots))
            .collect();
        let bytes = |(segment, slots): (&Arc<super::segment::Segment>, &Slots)| {
            slots.count() * segment.stored.vectors.scanned_bytes()
        };
        let bytes: usize = snapshot.segments.iter().zip(candidates.iter()).map(bytes).sum();
        Self {
            worth_help: bytes >= WORTH_HELP,
            vector: QueryVector::new(vector),
            limit,
            next: AtomicUsize::new(0),
            gathered: Mutex::new(Gathered {
                brought: vec![false; pieces.len()],
                shortlist: Shortlist::new(limit, NO_FLOOR),
            }),
            pieces,
            snapshot,
            candidates,
        }
    }

    /// Whether a second thread would shorten it.
    pub fn is_worth_help(&self) -> bool {
        self.worth_help
    }

    /// Scans pieces until none is left to take.
    pub fn help(&self) {
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            if piece >= self.pieces.len() {
                return;
            }
            self.scan(piece);
        }
    }

    /// The best by cosine, best first.
    pub fn finish(&self) -> Vec<Scored> {
        self.help();
        let brought = lock(&self.gathered).brought.clone();
        for (piece, _) in brought.iter().enumerate().filter(|(_, brought)| !**brought) {
            self.scan(piece);
        }
        let nothing = Shortlist::new(self.limit, NO_FLOOR);
        let shortlist = std::mem::replace(&mut lock(&self.gathered).shortlist, nothing);
        let exact = shortlist
            .finish()
            .map(|place| self.snapshot.scored(place, self.cosine(place)));
        best(exact.collect(), self.limit)
    }

    /// The exact score of a place; 0 where there is no vector.
    pub fn cosine(&self, place: Place) -> f64 {
        let (vectors, slot) = (self.vectors(place.segment as usize), usize::from(place.slot));
        match vectors.has(slot) {
            true => vectors.exact(slot, &self.vector),
            false => 0.0,
        }
    }

    fn vectors(&self, segment: usize) -> &Vectors {
        &self.snapshot.segments[segment].stored.vectors
    }

    fn scan(&self, number: usize) {
        let floor = lock(&self.gathered).shortlist.floor();
        let found = self.shortlist(&self.pieces[number], floor);
        let mut gathered = lock(&self.gathered);
        if !std::mem::replace(&mut gathered.brought[number], true) {
            gathered.shortlist.absorb(found);
        }
    }

    fn shortlist(&self, piece: &Piece, floor: f64) -> Shortlist<Place> {
        let vectors = self.vectors(piece.segment);
        let words = &self.candidates[piece.segment].words()[piece.words.clone()];
        let mut found = Shortlist::new(self.limit, floor);
        let mut estimates = Estimates::default();
        for (word, bits) in piece.words.clone().zip(words) {
            for (start, length) in runs(*bits) {
                let start = word * WORD + start;
                vectors.estimate(start..start + length, &self.vector, &mut estimates);
                keep(piece.segment, start, length, &estimates, &mut found);
            }
        }
        found
    }
}

/// Keeps what may reach the floor; hardly ever more than none of a run.
fn keep(
    segment: usize,
    start: usize,
    length: usize,
    estimates: &Estimates,
    found: &mut Shortlist<Place>,
) {
    let (scores, errors) = (&estimates.score[..length], &estimates.error[..length]);
    let floor = found.floor() as f32;
    let reaches = |(score, error): (&f32, &f32)| score + error + SLACK >= floor;
    if !scores.iter().zip(errors).fold(false, |any, one| any | reaches(one)) {
        return;
    }
    for (at, (score, error)) in scores.iter().zip(errors).enumerate() {
        if reaches((score, error)) {
            let place = Place {
                segment: segment as u32,
                slot: (start + at) as u16,
            };
            let (least, most) = (score - error - SLACK, score + error + SLACK);
            found.push(f64::from(least), f64::from(most), place);
        }
    }
}

fn pieces(segment: usize, slots: &Slots) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut start, mut count) = (0, 0);
    for (word, bits) in slots.words().iter().enumerate() {
        count += bits.count_ones() as usize;
        if count >= PIECE {
            pieces.push(Piece {
                segment,
                words: start..word + 1,
            });
            (start, count) = (word + 1, 0);
        }
    }
    if count > 0 {
        let words = start..slots.words().len();
        pieces.push(Piece { segment, words });
    }
    pieces
}
