//! A segment: up to 65,536 points that were made searchable together.
//!
//! Invariant: stored data never changes; mutable state (visible, removed, access) is separate and is copied only while
//! a search uses it. Slots are in the order in which points were stored.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use ragstone_core::access::Acl;
use ragstone_core::document::DocumentMetadata;
use ragstone_core::id::{ChunkId, CollectionName, PointId};
use ragstone_core::rank::TermId;
use ragstone_core::seam::index::{DocumentGeneration, IndexPoint};
use roaring::RoaringBitmap;

use super::access::AccessIndex;
use super::columns::{FieldColumns, FieldColumnsBuilder};
use super::group::PointGroup;
use super::postings::{Postings, PostingsBuilder};
use crate::index::vectors::VectorTable;
use crate::index::vectors::bits::SignBits;

/// Least number of vector components for sign bits: a smaller segment is scanned directly, because a scan of a
/// megabyte is fast.
const FEWEST_COMPONENTS: usize = 1 << 20;

/// Most points of a segment, because a slot has 16 bits.
pub const MAX_POINTS: usize = 1 << 16;

/// A point to be added to a segment.
pub struct NewPoint<'a> {
    /// Id of the point.
    pub point: PointId,
    /// Id of its chunk.
    pub chunk: ChunkId,
    /// Group of the point.
    pub group: &'a Arc<PointGroup>,
    /// Whether searches see it at once.
    pub visible: bool,
    /// Gate of the chunk: how well the encoder reads it.
    pub gate: f32,
    /// Dense vector, if the point has one.
    pub dense: Option<&'a [f32]>,
}

/// Immutable data of a segment; lists are indexed by slot.
#[derive(Debug)]
pub struct SegmentData {
    /// Point of each slot.
    pub points: Vec<PointId>,
    /// Chunk of each slot.
    pub chunks: Vec<ChunkId>,
    /// Position of each slot's group in the segment's groups.
    pub groups: Vec<u32>,
    /// Gate of each slot.
    pub gates: Vec<f32>,
    /// Greatest gate of all slots.
    pub greatest_gate: f32,
    /// Dense vector of each slot.
    pub vectors: VectorTable,
    /// Postings of single terms.
    pub unigrams: Postings,
    /// Postings of pairs of terms.
    pub bigrams: Postings,
    /// Positions of groups, sorted by generation.
    by_generation: Vec<(DocumentGeneration, u32)>,
    /// Sign bits of the vectors, once they were computed.
    bits: OnceLock<SignBits>,
    collections: HashMap<CollectionName, RoaringBitmap>,
}

/// A segment with its current mutable state.
#[derive(Debug, Clone)]
pub struct IndexSegment {
    /// Data that never changes.
    pub stored: Arc<SegmentData>,
    /// Slots that searches see.
    pub visible: RoaringBitmap,
    /// Slots whose points were removed.
    pub removed: RoaringBitmap,
    /// Groups of the points.
    pub groups: Arc<Vec<Arc<PointGroup>>>,
    /// Which readers may see which slots.
    pub access: Arc<AccessIndex>,
    /// Metadata fields for filters.
    pub columns: Arc<FieldColumns>,
}

impl IndexSegment {
    /// Number of points that are not removed.
    pub fn len(&self) -> usize {
        self.stored.points.len() - self.removed.len() as usize
    }

    /// Slots of the points of one generation, including removed ones.
    pub fn generation_slots(&self, generation: DocumentGeneration) -> RoaringBitmap {
        let groups = self.stored.generation_groups(generation);
        if groups.is_empty() {
            return RoaringBitmap::new();
        }
        let is_one = |(_, group): &(u32, &u32)| groups.iter().any(|(_, place)| place == *group);
        (0..)
            .zip(&self.stored.groups)
            .filter(is_one)
            .map(|(slot, _)| slot)
            .collect()
    }

    /// Slots of a collection, including removed ones.
    pub fn collection_slots(&self, collection: &CollectionName) -> Option<&RoaringBitmap> {
        self.stored.collections.get(collection)
    }

    /// Makes the points of a generation visible.
    pub fn publish_generation(&mut self, generation: DocumentGeneration) {
        self.visible |= self.generation_slots(generation) - &self.removed;
    }

    /// Removes the points of a generation.
    pub fn remove_generation(&mut self, generation: DocumentGeneration) {
        let slots = self.generation_slots(generation);
        self.visible -= &slots;
        self.removed |= slots;
    }

    /// Whether the segment contains points of a generation, including removed ones.
    pub fn has_generation(&self, generation: DocumentGeneration) -> bool {
        !self.stored.generation_groups(generation).is_empty()
    }

    /// Replaces the ACL and the fields of a generation's points.
    pub fn set_access(
        &mut self,
        generation: DocumentGeneration,
        acl: &Arc<Acl>,
        revision: u64,
        fields: &DocumentMetadata,
    ) {
        let slots = self.generation_slots(generation);
        let access = Arc::make_mut(&mut self.access);
        let groups = Arc::make_mut(&mut self.groups);
        let columns = Arc::make_mut(&mut self.columns);
        for (_, place) in self.stored.generation_groups(generation) {
            let group = &mut groups[*place as usize];
            access.remove_slots(&group.acl, &slots);
            *group = Arc::new(PointGroup {
                acl: acl.clone(),
                acl_revision: revision,
                ..PointGroup::clone(group)
            });
            let of_group = (0..).zip(&self.stored.groups).filter(|(_, of)| *of == place);
            columns.change_group(*place as usize, fields, &of_group.map(|(slot, _)| slot).collect());
        }
        access.insert_slots(acl, &slots);
    }

    /// Merges several segments into one, without their removed points. The rest must be at most [`MAX_POINTS`].
    pub fn merge_parts(parts: &[&IndexSegment], dimensions: usize) -> IndexSegment {
        let mut builder = SegmentBuilder::new(dimensions, parts.iter().map(|part| part.len()).sum());
        let places: Vec<Vec<Option<u16>>> = parts.iter().map(|part| builder.take_segment(part)).collect();
        let postings = |of: fn(&SegmentData) -> &Postings| {
            let parts = parts.iter().zip(&places);
            let parts: Vec<_> = parts
                .map(|(part, places)| (of(&part.stored), places.as_slice()))
                .collect();
            Postings::merge_parts(&parts)
        };
        let unigrams = postings(|stored| &stored.unigrams);
        let bigrams = postings(|stored| &stored.bigrams);
        builder.build_with_postings(unigrams, bigrams)
    }
}

impl SegmentData {
    /// Sign bits of the vectors; `None` for a small segment, or before [`Self::build_sign_bits`].
    pub fn sign_bits(&self) -> Option<&SignBits> {
        self.bits.get()
    }

    /// Computes the sign bits of the vectors if the segment is large enough.
    pub fn build_sign_bits(&self) {
        if self.vectors.len() * self.vectors.dimensions() >= FEWEST_COMPONENTS {
            self.bits.get_or_init(|| SignBits::from_vectors(&self.vectors));
        }
    }

    /// Positions of a generation's groups.
    fn generation_groups(&self, generation: DocumentGeneration) -> &[(DocumentGeneration, u32)] {
        let start = self.by_generation.partition_point(|(of, _)| *of < generation);
        let rest = &self.by_generation[start..];
        &rest[..rest.partition_point(|(of, _)| *of == generation)]
    }
}

/// Builds segments of the inserted points.
pub fn build_segments(
    dimensions: usize,
    points: &[IndexPoint],
    inserted: &[(usize, Arc<PointGroup>)],
) -> Vec<IndexSegment> {
    let build = |run: &[(usize, Arc<PointGroup>)]| {
        let mut builder = SegmentBuilder::new(dimensions, run.len());
        for (at, group) in run {
            let point = &points[*at];
            if !builder.has_group(group) {
                builder.push_group(group, |columns| columns.push(&point.fields));
            }
            let new = NewPoint {
                point: point.id,
                chunk: point.chunk.id,
                group,
                visible: false,
                gate: point.gate,
                dense: point.dense.as_deref(),
            };
            let lexical = &point.lexical;
            builder.push_point(&new, lexical.unigrams.iter().copied(), lexical.bigrams.iter().copied());
        }
        builder.build()
    };
    inserted.chunks(MAX_POINTS).map(build).collect()
}

/// Builder of a segment.
pub struct SegmentBuilder {
    points: Vec<PointId>,
    chunks: Vec<ChunkId>,
    places: Vec<u32>,
    gates: Vec<f32>,
    vectors: VectorTable,
    visible: RoaringBitmap,
    groups: Vec<Arc<PointGroup>>,
    columns: FieldColumnsBuilder,
    place_of: HashMap<i64, u32>,
    unigrams: PostingsBuilder,
    bigrams: PostingsBuilder,
}

impl SegmentBuilder {
    /// A builder with capacity for `points` points.
    pub fn new(dimensions: usize, points: usize) -> Self {
        Self {
            points: Vec::with_capacity(points),
            chunks: Vec::with_capacity(points),
            places: Vec::with_capacity(points),
            gates: Vec::with_capacity(points),
            vectors: VectorTable::with_capacity(dimensions, points),
            visible: RoaringBitmap::new(),
            groups: Vec::new(),
            columns: FieldColumnsBuilder::default(),
            place_of: HashMap::new(),
            unigrams: PostingsBuilder::default(),
            bigrams: PostingsBuilder::default(),
        }
    }

    /// Whether the group was added already.
    pub fn has_group(&self, group: &PointGroup) -> bool {
        self.place_of.contains_key(&group.row)
    }

    /// Adds a group that is not there yet, and its fields by `push_fields`.
    pub fn push_group(&mut self, group: &Arc<PointGroup>, push_fields: impl FnOnce(&mut FieldColumnsBuilder)) {
        self.place_of.insert(group.row, self.groups.len() as u32);
        self.groups.push(group.clone());
        push_fields(&mut self.columns);
    }

    /// Adds a point with its terms and pairs. Its group must be there.
    pub fn push_point(
        &mut self,
        point: &NewPoint<'_>,
        unigrams: impl Iterator<Item = (TermId, f32)>,
        bigrams: impl Iterator<Item = (TermId, f32)>,
    ) {
        let slot = self.points.len() as u16;
        self.unigrams.push(unigrams, slot);
        self.bigrams.push(bigrams, slot);
        self.vectors.push(point.dense);
        self.place_point(point);
    }

    fn place_point(&mut self, point: &NewPoint<'_>) -> u16 {
        let slot = self.points.len() as u16;
        let place = self.place_of.get(&point.group.row).copied();
        debug_assert!(place.is_some(), "a point of no group");
        self.points.push(point.point);
        self.chunks.push(point.chunk);
        self.places.push(place.unwrap_or_default());
        self.gates.push(point.gate);
        if point.visible {
            self.visible.insert(slot.into());
        }
        slot
    }

    /// Adds the points of `part` without their postings; returns the new slot of each old one.
    fn take_segment(&mut self, part: &IndexSegment) -> Vec<Option<u16>> {
        let stored = &part.stored;
        let points = stored.points.len() as u32;
        let mut kept = RoaringBitmap::new();
        kept.insert_range(0..points);
        kept -= &part.removed;
        let mut runs = kept.iter();
        while let Some(run) = runs.next_range() {
            let run = *run.start() as usize..*run.end() as usize + 1;
            self.vectors.extend_from(&stored.vectors, run);
        }
        let take = |slot: u32| {
            let at = slot as usize;
            kept.contains(slot).then(|| {
                let place = stored.groups[at] as usize;
                let group = &part.groups[place];
                if !self.has_group(group) {
                    self.push_group(group, |columns| columns.push_from(&part.columns, place));
                }
                self.place_point(&NewPoint {
                    point: stored.points[at],
                    chunk: stored.chunks[at],
                    group,
                    visible: part.visible.contains(slot),
                    gate: stored.gates[at],
                    dense: None,
                })
            })
        };
        (0..points).map(take).collect()
    }

    /// Builds the segment of the added points.
    pub fn build(mut self) -> IndexSegment {
        let unigrams = std::mem::take(&mut self.unigrams).build();
        let bigrams = std::mem::take(&mut self.bigrams).build();
        self.build_with_postings(unigrams, bigrams)
    }

    fn build_with_postings(self, unigrams: Postings, bigrams: Postings) -> IndexSegment {
        let generation = |(place, group): (u32, &Arc<PointGroup>)| ((group.document, group.generation), place);
        let mut by_generation: Vec<_> = (0..).zip(&self.groups).map(generation).collect();
        by_generation.sort_unstable();
        let mut slots = vec![RoaringBitmap::new(); self.groups.len()];
        for (slot, place) in (0..).zip(&self.places) {
            slots[*place as usize].insert(slot);
        }
        let mut access = AccessIndex::default();
        let mut collections: HashMap<CollectionName, RoaringBitmap> = HashMap::new();
        for (group, slots) in self.groups.iter().zip(&slots) {
            access.insert_slots(&group.acl, slots);
            match collections.get_mut(group.collection.as_ref()) {
                Some(of_collection) => *of_collection |= slots,
                None => drop(collections.insert(CollectionName::clone(&group.collection), slots.clone())),
            }
        }
        let columns = self.columns.build(&slots);
        let stored = SegmentData {
            points: self.points,
            chunks: self.chunks,
            groups: self.places,
            greatest_gate: self.gates.iter().copied().fold(0.0, f32::max),
            gates: self.gates,
            vectors: self.vectors,
            unigrams,
            bigrams,
            by_generation,
            bits: OnceLock::new(),
            collections,
        };
        IndexSegment {
            stored: Arc::new(stored),
            visible: self.visible,
            removed: RoaringBitmap::new(),
            groups: Arc::new(self.groups),
            access: Arc::new(access),
            columns: Arc::new(columns),
        }
    }
}
