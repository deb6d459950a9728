//! One search over one snapshot: which slots may be seen, both legs over them, the union.
//!
//! Invariant: a slot outside of the scope is never a candidate and never counts, neither for the gate nor for the
//! length of a list. Nothing is approximate: see [`Vectors`](super::vectors::Vectors).

use std::collections::HashMap;
use std::sync::Arc;

use ragstone_core::access::ScopedQuery;
use ragstone_core::seam::index::{Hit, Hits, IndexQuery, SearchMode};

use super::best::{Place, Scored, best};
use super::dense::Scan;
use super::helpers::Helpers;
use super::lexical::{self, Found};
use super::memory::Snapshot;
use super::segment::Segment;
use super::slots::Slots;

/// How many best points by words lend their gate to the question.
const GATE_POINTS: usize = 10;

/// Searches `snapshot`, with the help of cores that are idle.
pub fn search(snapshot: &Arc<Snapshot>, query: &ScopedQuery<IndexQuery>, helpers: &Arc<Helpers>) -> Hits {
    let _busy = helpers.begin();
    let asked = query.query();
    let admitted = snapshot.segments.iter().map(|segment| candidates(segment, query));
    let candidates: Arc<Vec<Slots>> = Arc::new(admitted.collect());
    let limit = asked.depth.max(GATE_POINTS);
    let dense = asked.dense.as_deref().filter(|_| snapshot.dimensions().is_some());
    let scan = dense.map(|vector| Arc::new(Scan::new(snapshot.clone(), candidates.clone(), vector, limit)));
    let wanted = scan.as_ref().filter(|_| asked.mode != SearchMode::Lexical);
    if let Some(scan) = wanted.filter(|scan| scan.is_worth_help()) {
        helpers.call(scan);
    }
    let most_gate = asked.query_gate * f64::from(snapshot.greatest_gate());
    let lexical = lexical::shortlist(snapshot, &candidates, &asked.lexical, most_gate, limit);
    let dense = wanted.map(|scan| scan.finish()).unwrap_or_default();
    let search = Search {
        snapshot,
        asked,
        scan: scan.as_deref(),
    };
    search.union(&lexical, dense)
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
    scan: Option<&'a Scan>,
}

impl Search<'_> {
    /// The union of the best by cosine, best first, and of the best by words.
    fn union(&self, lexical: &[Found], mut dense: Vec<Scored>) -> Hits {
        let gate = self.gate(lexical, &dense);
        dense.truncate(self.asked.depth);
        let cosines: HashMap<Place, f64> = dense.iter().map(|found| (found.place, found.score)).collect();
        let mut found = match self.asked.mode {
            SearchMode::Dense => Vec::new(),
            SearchMode::Lexical | SearchMode::Hybrid => {
                self.best(lexical, self.asked.depth, |found| found.score(gate))
            }
        };
        let mut dense_only = cosines.clone();
        for found in &found {
            dense_only.remove(&found.place);
        }
        let places = dense_only.into_keys().collect();
        found.extend(lexical::scores(self.snapshot, &self.asked.lexical, places));
        let hits = found.iter().map(|found| self.hit(found, cosines.get(&found.place)));
        Hits {
            gate,
            hits: hits.collect(),
        }
    }

    fn hit(&self, found: &Found, cosine: Option<&f64>) -> Hit {
        let segment = &self.snapshot.segments[found.place.segment as usize];
        let slot = usize::from(found.place.slot);
        let group = &segment.groups[segment.stored.groups[slot] as usize];
        let cosine = cosine.copied().or(self.scan.map(|scan| scan.cosine(found.place)));
        Hit {
            point: segment.stored.points[slot],
            chunk: segment.stored.chunks[slot],
            document: group.document,
            generation: group.generation,
            acl_revision: group.acl_revision,
            dense: cosine.unwrap_or(0.0),
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
                SearchMode::Lexical => &*self.scan.map(Scan::finish).unwrap_or_default(),
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
