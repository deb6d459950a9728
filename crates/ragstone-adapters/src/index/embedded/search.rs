//! One search over one snapshot: the visible slots, both legs over them, and their union.
//!
//! Invariant: a slot outside the scope is never a candidate and never counts, neither for the gate nor for the length
//! of a list. Nothing is approximate: see [`VectorTable`](crate::index::vectors::VectorTable).

use ragstone_core::access::ScopedQuery;
use ragstone_core::seam::index::{IndexHit, IndexHits, IndexQuery, SearchMode};

use super::best::{ScoredSlot, SlotLocation, best_by_score};
use super::dense::DenseSearch;
use super::lexical::{self, LexicalCandidate};
use super::memory::IndexSnapshot;
use super::segment::IndexSegment;
use super::slots::SlotSet;

/// Number of top lexical hits whose gates are averaged into the query's gate.
const GATE_POINTS: usize = 10;

/// Searches `snapshot` with both legs of the query.
pub fn search_snapshot(snapshot: &IndexSnapshot, query: &ScopedQuery<IndexQuery>) -> IndexHits {
    let asked = query.query();
    let admitted = snapshot.segments.iter().map(|segment| candidate_slots(segment, query));
    let has_vectors = snapshot.dimensions().is_some();
    let vector = asked.dense.as_deref().filter(|_| has_vectors);
    let search = SnapshotSearch {
        snapshot,
        asked,
        candidates: admitted.collect(),
        dense: vector.map(|vector| DenseSearch::new(snapshot, vector)),
    };
    search.run_search()
}

/// Slots of a segment that the query may see.
fn candidate_slots(segment: &IndexSegment, query: &ScopedQuery<IndexQuery>) -> SlotSet {
    let mut slots = SlotSet::empty(segment.stored.points.len());
    segment.access.add_admitted_slots(query.scope(), &mut slots);
    slots.intersect_bitmap(&segment.visible);
    if let Some(collection) = query.collection() {
        match segment.collection_slots(collection) {
            Some(found) => slots.intersect_bitmap(found),
            None => slots.clear(),
        }
    }
    for generation in &query.query().excluded {
        if segment.has_generation(*generation) {
            slots.subtract_bitmap(&segment.generation_slots(*generation));
        }
    }
    if let Some(filter) = query.filter() {
        slots.intersect_set(&segment.columns.matching_slots(filter, &segment.stored.groups));
    }
    slots
}

struct SnapshotSearch<'a> {
    snapshot: &'a IndexSnapshot,
    asked: &'a IndexQuery,
    /// Candidate slots, by segment.
    candidates: Vec<SlotSet>,
    dense: Option<DenseSearch<'a>>,
}

impl SnapshotSearch<'_> {
    fn run_search(&self) -> IndexHits {
        let limit = self.asked.depth.max(GATE_POINTS);
        let most_gate = self.asked.query_gate * f64::from(self.snapshot.greatest_gate());
        let terms = &self.asked.lexical;
        let lexical = lexical::shortlist_candidates(self.snapshot, &self.candidates, terms, most_gate, limit);
        let dense = match self.asked.mode {
            SearchMode::Lexical => Vec::new(),
            SearchMode::Dense | SearchMode::Hybrid => self.best_dense(limit),
        };
        self.union_hits(&lexical, dense)
    }

    fn best_dense(&self, limit: usize) -> Vec<ScoredSlot> {
        let best = |dense: &DenseSearch<'_>| dense.best_slots(&self.candidates, limit);
        self.dense.as_ref().map(best).unwrap_or_default()
    }

    /// Union of the best by lexical score and of the best by cosine, in the order of locations.
    fn union_hits(&self, lexical: &[LexicalCandidate], mut dense: Vec<ScoredSlot>) -> IndexHits {
        let gate = self.compute_gate(lexical, &dense);
        dense.truncate(self.asked.depth);
        let mut cosines: Vec<(SlotLocation, f64)> = dense.iter().map(|found| (found.place, found.score)).collect();
        cosines.sort_unstable_by_key(|(place, _)| *place);
        let mut found = match self.asked.mode {
            SearchMode::Dense => Vec::new(),
            SearchMode::Lexical | SearchMode::Hybrid => {
                self.best_lexical(lexical, self.asked.depth, |found| found.score(gate))
            }
        };
        found.sort_unstable_by_key(|found| found.place);
        let by_cosine_only = missing_locations(&cosines, |(place, _)| *place, &found, |found| found.place);
        let by_words_only = missing_locations(&found, |found| found.place, &cosines, |(place, _)| *place);
        found.extend(lexical::score_locations(
            self.snapshot,
            &self.asked.lexical,
            by_cosine_only,
        ));
        found.sort_unstable_by_key(|found| found.place);
        cosines.extend(self.dense.iter().flat_map(|dense| dense.exact_cosines(&by_words_only)));
        cosines.sort_unstable_by_key(|(place, _)| *place);
        let mut cosines = cosines.into_iter().peekable();
        let hits = found.iter().map(|found| {
            let cosine = cosines.next_if(|(place, _)| *place == found.place);
            self.build_hit(found, cosine.map_or(0.0, |(_, cosine)| cosine))
        });
        IndexHits {
            gate,
            hits: hits.collect(),
        }
    }

    fn build_hit(&self, found: &LexicalCandidate, cosine: f64) -> IndexHit {
        let segment = &self.snapshot.segments[found.place.segment as usize];
        let slot = usize::from(found.place.slot);
        let group = &segment.groups[segment.stored.groups[slot] as usize];
        IndexHit {
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

    /// Computes the query's gate as described at [`IndexHits::compute_gate`].
    fn compute_gate(&self, lexical: &[LexicalCandidate], dense: &[ScoredSlot]) -> f64 {
        let by_words = self.best_lexical(lexical, GATE_POINTS, |found| found.unigrams);
        let mut places: Vec<SlotLocation> = by_words.iter().map(|found| found.place).collect();
        if places.is_empty() {
            let by_cosine = match self.asked.mode {
                SearchMode::Lexical => &self.best_dense(GATE_POINTS),
                SearchMode::Dense | SearchMode::Hybrid => dense,
            };
            places.extend(by_cosine.iter().take(GATE_POINTS).map(|found| found.place));
        }
        let gate = |place: &SlotLocation| {
            let stored = &self.snapshot.segments[place.segment as usize].stored;
            f64::from(stored.gates[usize::from(place.slot)])
        };
        match places.len() {
            0 => 0.0,
            points => self.asked.query_gate * places.iter().map(gate).sum::<f64>() / points as f64,
        }
    }

    /// The best by `score`, without those that score zero.
    fn best_lexical(
        &self,
        found: &[LexicalCandidate],
        limit: usize,
        score: impl Fn(&LexicalCandidate) -> f64,
    ) -> Vec<LexicalCandidate> {
        let scored = found.iter().zip(0..).filter_map(|(found, at): (_, u32)| {
            let score = score(found);
            (score > 0.0).then(|| (self.snapshot.scored_slot(found.place, score), at))
        });
        let best = best_by_score(scored.collect(), limit, |(scored, _)| scored);
        best.into_iter().map(|(_, at)| found[at as usize]).collect()
    }
}

/// Locations of `these` that are not among `those`; both are ascending.
fn missing_locations<A, B>(
    these: &[A],
    place: impl Fn(&A) -> SlotLocation,
    those: &[B],
    other_place: impl Fn(&B) -> SlotLocation,
) -> Vec<SlotLocation> {
    let mut others = those.iter().map(other_place).peekable();
    let places = these.iter().map(place);
    places
        .filter(|place| {
            while others.next_if(|other| other < place).is_some() {}
            others.peek() != Some(place)
        })
        .collect()
}
