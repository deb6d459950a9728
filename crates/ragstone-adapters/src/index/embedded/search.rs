//! One search over one snapshot: which slots may be seen, both legs over them, the union.
//!
//! Invariant: a slot outside of the scope's bitmap is never a candidate and never counts, neither for the gate nor for
//! the length of a list. Nothing is approximate: see [`Vectors`](super::vectors::Vectors).

use std::collections::HashMap;

use ragstone_core::access::ScopedQuery;
use ragstone_core::rank::{BIGRAM_WEIGHT, TermId};
use ragstone_core::seam::index::{Hit, Hits, IndexQuery, SearchMode};

use super::best::{Best, Place, Scored, TIE};
use super::memory::Snapshot;
use super::postings::{List, Postings};
use super::segment::Segment;
use super::vectors::QueryVector;

/// How many best points by words lend their gate to the question.
const GATE_POINTS: usize = 10;
/// A list so many times longer than the candidates is looked up for each of them instead of read through.
const LOOK_UP_FACTOR: usize = 16;

/// Searches `snapshot`.
pub fn search(snapshot: &Snapshot, query: &ScopedQuery<IndexQuery>) -> Hits {
    let parts: Vec<Part<'_>> = snapshot
        .segments
        .iter()
        .map(|segment| Part::new(segment, query))
        .collect();
    let asked = query.query();
    let dense = asked.dense.as_deref().filter(|_| snapshot.dimensions().is_some());
    let vector = dense.map(QueryVector::new);
    let search = Search { parts, asked, vector };
    search.run()
}

/// A segment with its candidates and their lexical scores.
struct Part<'a> {
    segment: &'a Segment,
    candidates: Vec<u16>,
    /// By slot; right for candidates only.
    unigrams: Vec<f64>,
    bigrams: Vec<f64>,
}

struct Search<'a> {
    parts: Vec<Part<'a>>,
    asked: &'a IndexQuery,
    vector: Option<QueryVector>,
}

impl<'a> Part<'a> {
    fn new(segment: &'a Segment, query: &ScopedQuery<IndexQuery>) -> Self {
        let candidates = candidates(segment, query);
        let lexical = &query.query().lexical;
        let stored = &segment.stored;
        Self {
            unigrams: scores(
                &stored.unigrams,
                &lexical.unigrams,
                &candidates,
                stored.points.len(),
            ),
            bigrams: scores(
                &stored.bigrams,
                &lexical.bigrams,
                &candidates,
                stored.points.len(),
            ),
            segment,
            candidates,
        }
    }
}

/// The slots that the query may see.
fn candidates(segment: &Segment, query: &ScopedQuery<IndexQuery>) -> Vec<u16> {
    let mut slots = segment.access.admitted(query.scope());
    slots &= &segment.visible;
    if let Some(collection) = query.collection() {
        match segment.slots_in(collection) {
            Some(found) => slots &= found,
            None => slots.clear(),
        }
    }
    for generation in &query.query().without {
        if segment.has(*generation) {
            slots -= segment.slots_of(*generation);
        }
    }
    let slots = slots.into_iter().map(|slot| slot as u16);
    let Some(filter) = query.filter() else {
        return slots.collect();
    };
    let mut passes: Vec<Option<bool>> = vec![None; segment.groups.len()];
    let mut check = |slot: &u16| {
        let place = segment.stored.groups[usize::from(*slot)] as usize;
        *passes[place].get_or_insert_with(|| filter.matches(&segment.groups[place].fields))
    };
    slots.filter(|slot| check(slot)).collect()
}

fn scores(postings: &Postings, terms: &[(TermId, f64)], candidates: &[u16], slots: usize) -> Vec<f64> {
    if candidates.is_empty() || terms.is_empty() {
        return Vec::new();
    }
    let mut scores = vec![0.0; slots];
    for (term, idf) in terms {
        let list = postings.list(*term);
        match list.slots.len() / LOOK_UP_FACTOR > candidates.len() {
            true => look_up(list, *idf, candidates, &mut scores),
            false => read_through(list, *idf, &mut scores),
        }
    }
    scores
}

fn read_through(list: List<'_>, idf: f64, scores: &mut [f64]) {
    for (slot, weight) in list.slots.iter().zip(list.weights) {
        scores[usize::from(*slot)] += f64::from(*weight) * idf;
    }
}

fn look_up(list: List<'_>, idf: f64, candidates: &[u16], scores: &mut [f64]) {
    let mut from = 0;
    for slot in candidates {
        match list.slots[from..].binary_search(slot) {
            Ok(at) => {
                scores[usize::from(*slot)] += f64::from(list.weights[from + at]) * idf;
                from += at + 1;
            }
            Err(at) => from += at,
        }
    }
}

impl Search<'_> {
    fn run(&self) -> Hits {
        let gate = self.gate();
        let mut dense = Vec::new();
        let mut lexical = Vec::new();
        if self.asked.mode != SearchMode::Lexical {
            dense = self.best_dense(self.asked.depth);
        }
        if self.asked.mode != SearchMode::Dense {
            lexical = self.best_by(self.asked.depth, |b, b2| b + BIGRAM_WEIGHT * gate * b2);
        }
        let mut union: HashMap<Place, Option<f64>> = HashMap::new();
        union.extend(lexical.iter().map(|found| (found.place, None)));
        union.extend(dense.iter().map(|found| (found.place, Some(found.score))));
        let hits = union.into_iter().map(|(place, cosine)| self.hit(place, cosine));
        Hits {
            gate,
            hits: hits.collect(),
        }
    }

    fn hit(&self, place: Place, cosine: Option<f64>) -> Hit {
        let part = &self.parts[place.segment];
        let slot = usize::from(place.slot);
        let stored = &part.segment.stored;
        let group = &part.segment.groups[stored.groups[slot] as usize];
        let score = |scores: &[f64]| scores.get(slot).copied().unwrap_or(0.0);
        Hit {
            point: stored.points[slot],
            chunk: stored.chunks[slot],
            document: group.document,
            generation: group.generation,
            acl_revision: group.acl_revision,
            dense: cosine.unwrap_or_else(|| self.cosine(place)),
            unigrams: score(&part.unigrams),
            bigrams: score(&part.bigrams),
        }
    }

    fn cosine(&self, place: Place) -> f64 {
        let vectors = &self.parts[place.segment].segment.stored.vectors;
        let slot = usize::from(place.slot);
        match &self.vector {
            Some(vector) if vectors.has(slot) => vectors.exact(slot, vector),
            _ => 0.0,
        }
    }

    /// As [`Hits::gate`] says.
    fn gate(&self) -> f64 {
        let mut best = self.best_by(GATE_POINTS, |b, _| b);
        if best.is_empty() {
            best = self.best_dense(GATE_POINTS);
        }
        let gate = |found: &Scored| {
            let stored = &self.parts[found.place.segment].segment.stored;
            f64::from(stored.gates[usize::from(found.place.slot)])
        };
        match best.len() {
            0 => 0.0,
            points => self.asked.query_gate * best.iter().map(gate).sum::<f64>() / points as f64,
        }
    }

    fn scored(&self, place: Place, score: f64) -> Scored {
        let stored = &self.parts[place.segment].segment.stored;
        let slot = usize::from(place.slot);
        Scored {
            score,
            chunk: stored.chunks[slot],
            point: stored.points[slot],
            place,
        }
    }

    /// The best candidates by a positive score made of B and B2.
    fn best_by(&self, limit: usize, score: impl Fn(f64, f64) -> f64) -> Vec<Scored> {
        let mut best = Best::new(limit);
        for (segment, part) in self.parts.iter().enumerate() {
            if part.unigrams.is_empty() && part.bigrams.is_empty() {
                continue;
            }
            let at = |scores: &[f64], slot: u16| scores.get(usize::from(slot)).copied().unwrap_or(0.0);
            for slot in &part.candidates {
                let score = score(at(&part.unigrams, *slot), at(&part.bigrams, *slot));
                if score > 0.0 && best.wants(score) {
                    best.push(self.scored(Place { segment, slot: *slot }, score));
                }
            }
        }
        best.finish()
    }

    /// The best candidates by cosine: first all that the bounds of the coarse parts cannot rule out, then exactly. On
    /// one thread, which leaves the other cores to other searches.
    fn best_dense(&self, limit: usize) -> Vec<Scored> {
        let Some(vector) = self.vector.as_ref().filter(|_| limit > 0) else {
            return Vec::new();
        };
        let mut bounds = Bounds::new(limit);
        for (segment, part) in self.parts.iter().enumerate() {
            let vectors = &part.segment.stored.vectors;
            for slot in &part.candidates {
                let at = usize::from(*slot);
                if vectors.has(at) {
                    let (estimate, error) = (vectors.estimate(at, vector), vectors.error(at, vector));
                    bounds.push(Place { segment, slot: *slot }, estimate, error);
                }
            }
        }
        let mut best = Best::new(limit);
        for place in bounds.finish() {
            best.push(self.scored(place, self.cosine(place)));
        }
        best.finish()
    }
}

/// Candidates that may still be among the best, by what their score is at least and at most.
struct Bounds {
    limit: usize,
    /// At least this many candidates score so much.
    floor: f32,
    kept: Vec<(f32, f32, Place)>,
}

/// Rounding of sums in single precision, and ties.
const SLACK: f32 = 4e-6 + TIE as f32;
/// Candidates are sifted when so many times more than wanted have gathered.
const SIFT_FACTOR: usize = 8;

impl Bounds {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            floor: f32::NEG_INFINITY,
            kept: Vec::with_capacity(SIFT_FACTOR * limit),
        }
    }

    fn push(&mut self, place: Place, estimate: f32, error: f32) {
        let most = estimate + error + SLACK;
        if most < self.floor {
            return;
        }
        self.kept.push((estimate - error - SLACK, most, place));
        if self.kept.len() >= self.kept.capacity() {
            self.sift();
            self.kept.reserve(SIFT_FACTOR * self.limit);
        }
    }

    fn sift(&mut self) {
        if self.kept.len() < self.limit {
            return;
        }
        let by_least = |a: &(f32, f32, Place), b: &(f32, f32, Place)| b.0.total_cmp(&a.0);
        let (_, least, _) = self.kept.select_nth_unstable_by(self.limit - 1, by_least);
        self.floor = self.floor.max(least.0);
        let floor = self.floor;
        self.kept.retain(|(_, most, _)| *most >= floor);
    }

    fn finish(mut self) -> impl Iterator<Item = Place> {
        self.sift();
        self.kept.into_iter().map(|(_, _, place)| place)
    }
}
