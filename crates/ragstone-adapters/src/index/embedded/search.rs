//! One search over one snapshot: which slots may be seen, both legs over them, the union.
//!
//! Invariant: a slot outside of the scope is never a candidate and never counts, neither for the gate nor for the
//! length of a list. Nothing is approximate: see [`Vectors`](crate::index::vectors::Vectors).

use std::collections::{HashMap, HashSet};

use ragstone_core::access::ScopedQuery;
use ragstone_core::seam::index::{Hit, Hits, IndexQuery, SearchMode};

use super::best::{Place, Scored, best};
use super::dense::Dense;
use super::lexical::{self, Found};
use super::memory::Snapshot;
use super::segment::Segment;
use super::slots::Slots;

/// How many best points by words lend their gate to the question.
const GATE_POINTS: usize = 10;

/// Searches `snapshot`.
pub fn search(snapshot: &Snapshot, query: &ScopedQuery<IndexQuery>) -> Hits {
    let asked = query.query();
    let admitted = snapshot.segments.iter().map(|segment| candidates(segment, query));
    let has_vectors = snapshot.dimensions().is_some();
    let vector = asked.dense.as_deref().filter(|_| has_vectors);
    let search = Search {
        snapshot,
        asked,
        candidates: admitted.collect(),
        dense: vector.map(|vector| Dense::new(snapshot, vector)),
    };
    search.run()
}

/// The slots of a segment that the query may see.
fn candidates(segment: &Segment, query: &ScopedQuery<IndexQuery>) -> Slots {
    let mut slots = Slots::none(segment.stored.points.len());
    segment.access.admit(query.scope(), &mut slots);
    slots.keep(&segment.visible);
    if let Some(collection) = query.collection() {
        match segment.slots_in(collection) {
            Some(found) => slots.keep(found),
            None => slots.retain(|_| false),
        }
    }
    for generation in &query.query().without {
        if segment.has(*generation) {
            slots.take(&segment.slots_of(*generation));
        }
    }
    if let Some(filter) = query.filter() {
        let mut passes: Vec<Option<bool>> = vec![None; segment.groups.len()];
        slots.retain(|slot| {
            let place = segment.stored.groups[usize::from(slot)] as usize;
            *passes[place].get_or_insert_with(|| filter.matches(&segment.groups[place].fields))
        });
    }
    slots
}

struct Search<'a> {
    snapshot: &'a Snapshot,
    asked: &'a IndexQuery,
    /// By segment.
    candidates: Vec<Slots>,
    dense: Option<Dense<'a>>,
}

impl Search<'_> {
    fn run(&self) -> Hits {
        let limit = self.asked.depth.max(GATE_POINTS);
        let most_gate = self.asked.query_gate * f64::from(self.snapshot.greatest_gate());
        let terms = &self.asked.lexical;
        let lexical = lexical::shortlist(self.snapshot, &self.candidates, terms, most_gate, limit);
        let dense = match self.asked.mode {
            SearchMode::Lexical => Vec::new(),
            SearchMode::Dense | SearchMode::Hybrid => self.best_dense(limit),
        };
        self.union(&lexical, dense)
    }

    fn best_dense(&self, limit: usize) -> Vec<Scored> {
        let best = |dense: &Dense<'_>| dense.best(&self.candidates, limit);
        self.dense.as_ref().map(best).unwrap_or_default()
    }

    /// The union of the best by words and of the best by cosine, best first.
    fn union(&self, lexical: &[Found], mut dense: Vec<Scored>) -> Hits {
        let gate = self.gate(lexical, &dense);
        dense.truncate(self.asked.depth);
        let mut cosines: HashMap<Place, f64> = dense.iter().map(|found| (found.place, found.score)).collect();
        let mut found = match self.asked.mode {
            SearchMode::Dense => Vec::new(),
            SearchMode::Lexical | SearchMode::Hybrid => {
                self.best(lexical, self.asked.depth, |found| found.score(gate))
            }
        };
        let by_words: HashSet<Place> = found.iter().map(|found| found.place).collect();
        let by_cosine_only = cosines.keys().filter(|place| !by_words.contains(place));
        let by_cosine_only = by_cosine_only.copied().collect();
        found.extend(lexical::scores(
            self.snapshot,
            &self.asked.lexical,
            by_cosine_only,
        ));
        let by_words_only = by_words.into_iter().filter(|place| !cosines.contains_key(place));
        let by_words_only: Vec<Place> = by_words_only.collect();
        cosines.extend(self.dense.iter().flat_map(|dense| dense.cosines(&by_words_only)));
        let hits = found.iter().map(|found| {
            let cosine = cosines.get(&found.place).copied();
            self.hit(found, cosine.unwrap_or(0.0))
        });
        Hits {
            gate,
            hits: hits.collect(),
        }
    }

    fn hit(&self, found: &Found, cosine: f64) -> Hit {
        let segment = &self.snapshot.segments[found.place.segment as usize];
        let slot = usize::from(found.place.slot);
        let group = &segment.groups[segment.stored.groups[slot] as usize];
        Hit {
            point: segment.stored.points[slot],
            chunk: segment.stored.chunks[slot],
            document: group.document,
            generation: group.generation,
            acl_revision: group.acl_revision,
            dense: cosine,
            unigrams: found.unigrams,
            bigrams: found.bigrams,
        }
    }

    /// As [`Hits::gate`] says.
    fn gate(&self, lexical: &[Found], dense: &[Scored]) -> f64 {
        let by_words = self.best(lexical, GATE_POINTS, |found| found.unigrams);
        let mut places: Vec<Place> = by_words.iter().map(|found| found.place).collect();
        if places.is_empty() {
            let by_cosine = match self.asked.mode {
                SearchMode::Lexical => &self.best_dense(GATE_POINTS),
                SearchMode::Dense | SearchMode::Hybrid => dense,
            };
            places.extend(by_cosine.iter().take(GATE_POINTS).map(|found| found.place));
        }
        let gate = |place: &Place| {
            let stored = &self.snapshot.segments[place.segment as usize].stored;
            f64::from(stored.gates[usize::from(place.slot)])
        };
        match places.len() {
            0 => 0.0,
            points => self.asked.query_gate * places.iter().map(gate).sum::<f64>() / points as f64,
        }
    }

    /// The best by a score, of those that have one.
    fn best(&self, found: &[Found], limit: usize, score: impl Fn(&Found) -> f64) -> Vec<Found> {
        let positive = found.iter().filter(|found| score(found) > 0.0);
        let scored = positive.map(|found| self.snapshot.scored(found.place, score(found)));
        let by_place: HashMap<Place, &Found> = found.iter().map(|found| (found.place, found)).collect();
        let best = best(scored.collect(), limit);
        best.iter().map(|scored| *by_place[&scored.place]).collect()
    }
}
