//! The searchable state: a list of segments, replaced as a whole.
//!
//! Invariant: writes arrive one at a time and only after their commit; a search holds one snapshot, which never
//! changes. A write changes a segment in place if no search uses it; otherwise it changes a copy of the segment's
//! small mutable part.

use std::sync::{Arc, PoisonError, RwLock};

use ragstone_core::seam::index::DocumentGeneration;

use super::best::{ScoredSlot, SlotLocation};
use super::segment::{IndexSegment, MAX_POINTS};

/// A segment is merged into the one before it if that is at most this many times as large.
const MERGE_FACTOR: usize = 2;

/// The segments that one search reads.
#[derive(Debug, Clone, Default)]
pub struct IndexSnapshot {
    /// Segments, oldest points first.
    pub segments: Vec<Arc<IndexSegment>>,
}

impl IndexSnapshot {
    /// Components of the vectors; `None` for an empty or a lexical index.
    pub fn dimensions(&self) -> Option<usize> {
        let of = |segment: &Arc<IndexSegment>| segment.stored.vectors.dimensions();
        self.segments.first().map(of).filter(|dimensions| *dimensions > 0)
    }

    /// Greatest gate of all points.
    pub fn greatest_gate(&self) -> f32 {
        let of = |segment: &Arc<IndexSegment>| segment.stored.greatest_gate;
        self.segments.iter().map(of).fold(0.0, f32::max)
    }

    /// Computes the sign bits of large segments; searches meanwhile do without them.
    pub fn build_sign_bits(&self) {
        self.segments
            .iter()
            .for_each(|segment| segment.stored.build_sign_bits());
    }

    /// A location with the values that decide its rank.
    pub fn scored_slot(&self, place: SlotLocation, score: f64) -> ScoredSlot {
        let stored = &self.segments[place.segment as usize].stored;
        let slot = usize::from(place.slot);
        ScoredSlot {
            score,
            chunk: stored.chunks[slot],
            point: stored.points[slot],
            place,
        }
    }
}

/// Holder of the current snapshot.
#[derive(Debug, Default)]
pub struct SegmentSet {
    snapshot: RwLock<Arc<IndexSnapshot>>,
}

impl SegmentSet {
    /// A set that starts with `segments`.
    pub fn new(segments: Vec<IndexSegment>) -> Self {
        let segments = segments.into_iter().map(Arc::new).collect();
        Self {
            snapshot: RwLock::new(Arc::new(IndexSnapshot { segments })),
        }
    }

    /// The snapshot for a search that starts at this moment.
    pub fn snapshot(&self) -> Arc<IndexSnapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces all segments by `segments`.
    pub fn replace_all(&self, segments: Vec<IndexSegment>) {
        self.update_segments(|held| *held = segments.into_iter().map(Arc::new).collect());
    }

    fn update_segments(&self, change: impl FnOnce(&mut Vec<Arc<IndexSegment>>)) {
        let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut Arc::make_mut(&mut snapshot).segments);
    }

    /// Changes every segment that contains points of `generation`, in one atomic step.
    pub fn update_generation(&self, generation: DocumentGeneration, change: impl Fn(&mut IndexSegment)) {
        self.update_segments(|segments| {
            for segment in segments.iter_mut().filter(|segment| segment.has_generation(generation)) {
                change(Arc::make_mut(segment));
            }
        });
    }

    /// Appends segments, then merges small ones. Called by one writer at a time.
    pub fn append_segments(&self, new: Vec<IndexSegment>, dimensions: usize) {
        new.iter().for_each(|segment| segment.stored.build_sign_bits());
        self.update_segments(|segments| segments.extend(new.into_iter().map(Arc::new)));
        self.compact_segments(dimensions);
    }

    /// Merges the last segments while they are of similar size, and rewrites those whose points are mostly removed.
    /// Searches use the old segments until the new one is ready.
    pub fn compact_segments(&self, dimensions: usize) {
        self.update_segments(|segments| segments.retain(|segment| segment.len() > 0));
        let segments = self.snapshot().segments.clone();
        let start = first_to_merge(&segments);
        if segments.len() - start > 1 {
            self.replace_range(&segments, start..segments.len(), dimensions);
        }
        let segments = self.snapshot().segments.clone();
        let mostly_removed = |segment: &Arc<IndexSegment>| segment.removed.len() as usize > segment.len();
        if let Some(at) = segments.iter().position(mostly_removed) {
            self.replace_range(&segments, at..at + 1, dimensions);
        }
    }

    fn replace_range(&self, segments: &[Arc<IndexSegment>], range: std::ops::Range<usize>, dimensions: usize) {
        let parts: Vec<&IndexSegment> = segments[range.clone()].iter().map(Arc::as_ref).collect();
        let merged = Arc::new(IndexSegment::merge_parts(&parts, dimensions));
        merged.stored.build_sign_bits();
        self.update_segments(|segments| drop(segments.splice(range, [merged])));
    }
}

/// Start of the run of last segments to merge into one; over time each point is merged a logarithmic number of times.
fn first_to_merge(segments: &[Arc<IndexSegment>]) -> usize {
    let mut sizes = segments.iter().map(|segment| segment.len()).enumerate().rev();
    let Some((mut start, mut sum)) = sizes.next() else {
        return 0;
    };
    for (at, size) in sizes {
        if size > MERGE_FACTOR * sum || size + sum > MAX_POINTS {
            break;
        }
        (start, sum) = (at, sum + size);
    }
    start
}
