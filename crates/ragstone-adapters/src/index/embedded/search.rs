//! One search over one snapshot: which slots may be seen, both legs over them, the union.
//!
//! Invariant: a slot outside of the scope is never a candidate and never counts, neither for the gate nor for the
//! length of a list. Nothing is approximate: see [`Vectors`](crate::index::vectors::Vectors).

use ragstone_core::access::ScopedQuery;
use ragstone_core::seam::index::{Hit, Hits, IndexQuery, SearchMode};

use super::best::{Place, Scored, best_of};
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
            None => slots.clear(),
        }
    }
    for generation in &query.query().without {
        if segment.has(*generation) {
            slots.take(&segment.slots_of(*generation));
        }
    }
    if let Some(filter) = query.filter() {
        slots.keep_words(&segment.columns.matching(filter, &segment.stored.groups));
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

    /// The union of the best by words and of the best by cosine, in the order of places.
    fn union(&self, lexical: &[Found], mut dense: Vec<Scored>) -> Hits {
        let gate = self.gate(lexical, &dense);
        dense.truncate(self.asked.depth);
        let mut cosines: Vec<(Place, f64)> = dense.iter().map(|found| (found.place, found.score)).collect();
        cosines.sort_unstable_by_key(|(place, _)| *place);
        let mut found = match self.asked.mode {
            SearchMode::Dense => Vec::new(),
            SearchMode::Lexical | SearchMode::Hybrid => self.best(lexical, self.asked.depth, |found| found.score(gate)),
        };
        found.sort_unstable_by_key(|found| found.place);
        let by_cosine_only = missing(&cosines, |(place, _)| *place, &found, |found| found.place);
        let by_words_only = missing(&found, |found| found.place, &cosines, |(place, _)| *place);
        found.extend(lexical::scores(self.snapshot, &self.asked.lexical, by_cosine_only));
        found.sort_unstable_by_key(|found| found.place);
        cosines.extend(self.dense.iter().flat_map(|dense| dense.cosines(&by_words_only)));
        cosines.sort_unstable_by_key(|(place, _)| *place);
        let mut cosines = cosines.into_iter().peekable();
        let hits = found.iter().map(|found| {
            let cosine = cosines.next_if(|(place, _)| *place == found.place);
            self.hit(found, cosine.map_or(0.0, |(_, cosine)| cosine))
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
        let scored = found.iter().zip(0..).filter_map(|(found, at): (_, u32)| {
            let score = score(found);
            (score > 0.0).then(|| (self.snapshot.scored(found.place, score), at))
        });
        let best = best_of(scored.collect(), limit, |(scored, _)| scored);
        best.into_iter().map(|(_, at)| found[at as usize]).collect()
    }
}

/// The places of `these` that are not among `those`; both ascend.
fn missing<A, B>(
    these: &[A],
    place: impl Fn(&A) -> Place,
    those: &[B],
    other_place: impl Fn(&B) -> Place,
) -> Vec<Place> {
    let mut others = those.iter().map(other_place).peekable();
    let places = these.iter().map(place);
    places
        .filter(|place| {
            while others.next_if(|other| other < place).is_some() {}
            others.peek() != Some(place)
        })
        .collect()
}
