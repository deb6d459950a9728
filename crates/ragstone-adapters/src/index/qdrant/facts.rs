//! Cache of points for searches: the parts of a payload that a hit needs and that never change.
//!
//! The server parses a whole payload to return a part of it, so a list of hundreds of candidates is cheaper without
//! payloads. Chunk, document, generation and gate of a point are written once. Its access is not: only the ACL
//! revision that was read with it is cached, and nothing of a point whose ACL has more sets than Qdrant's conditions
//! cover.
//!
//! Invariant: a revision from here is never newer than the one by which the server made a list, because a search uses
//! only entries from before its request. So a hit that its document's newest ACL no longer admits is not mistaken for
//! an access leak when it is only out of date.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ragstone_core::id::{ChunkId, DocumentId, Generation, PointId};
use ragstone_core::seam::index::DocumentGeneration;

/// Least number of points that are cached, if so many were read; at most twice as many. About 60 bytes each.
const REMEMBERED: usize = 131_072;

/// Cached data of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PointFact {
    pub chunk: ChunkId,
    /// Gate: how well the encoder reads the chunk.
    pub gate: f32,
    pub document: DocumentId,
    pub generation: Generation,
    /// ACL revision at the time of reading.
    pub acl_revision: u64,
}

/// Data by point; `None` for a point that the caller may not see.
pub(super) type KnownPoints = HashMap<PointId, Option<PointFact>>;

/// Values that the points of one generation share.
#[derive(Debug)]
struct GenerationFacts {
    document: DocumentId,
    generation: Generation,
    acl_revision: u64,
    /// Number of the reading that brought it; see [`PointFactCache::reading_count`].
    reading: u64,
    /// Whether the generation changed since.
    outdated: AtomicBool,
}

#[derive(Debug, Clone)]
struct CachedPoint {
    chunk: ChunkId,
    gate: f32,
    group: Arc<GenerationFacts>,
}

/// Cache of the points that searches read last.
#[derive(Debug, Default)]
pub(super) struct PointFactCache {
    table: Mutex<PointFactTable>,
}

#[derive(Debug, Default)]
struct PointFactTable {
    /// Points read since the older half was filled.
    young: HashMap<PointId, CachedPoint>,
    /// Points read before; dropped when the young half is full.
    old: HashMap<PointId, CachedPoint>,
    groups: HashMap<DocumentGeneration, Weak<GenerationFacts>>,
    readings: u64,
}

impl PointFactCache {
    /// Number of readings so far. A search gets it before its first request and passes it to [`Self::known_at`].
    pub fn reading_count(&self) -> u64 {
        self.lock_table().readings
    }

    /// Entries of `points` that were known at reading number `when`.
    pub fn known_at(&self, points: &[PointId], when: u64) -> HashMap<PointId, PointFact> {
        let mut table = self.lock_table();
        let known = points.iter().filter_map(|point| {
            let entry = table.find_point(*point)?;
            entry.group.is_usable(when).then(|| (*point, entry.to_fact()))
        });
        known.collect()
    }

    /// Caches points as they were read.
    pub fn record_facts(&self, read: impl IntoIterator<Item = (PointId, PointFact)>) {
        let mut table = self.lock_table();
        table.readings += 1;
        for (point, fact) in read {
            let entry = CachedPoint {
                chunk: fact.chunk,
                gate: fact.gate,
                group: table.group_for(&fact),
            };
            table.insert_point(point, entry);
        }
    }

    /// Removes the points of a generation that is changed.
    pub fn forget_generation(&self, generation: DocumentGeneration) {
        let group = self.lock_table().groups.remove(&generation);
        if let Some(group) = group.and_then(|group| group.upgrade()) {
            group.outdated.store(true, Ordering::Release);
        }
    }

    fn lock_table(&self) -> MutexGuard<'_, PointFactTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GenerationFacts {
    fn is_usable(&self, when: u64) -> bool {
        self.reading <= when && !self.outdated.load(Ordering::Acquire)
    }
}

impl CachedPoint {
    fn to_fact(&self) -> PointFact {
        PointFact {
            chunk: self.chunk,
            gate: self.gate,
            document: self.group.document,
            generation: self.group.generation,
            acl_revision: self.group.acl_revision,
        }
    }
}

impl PointFactTable {
    fn find_point(&mut self, point: PointId) -> Option<CachedPoint> {
        if let Some(entry) = self.young.get(&point) {
            return Some(entry.clone());
        }
        let entry = self.old.remove(&point)?;
        self.insert_point(point, entry.clone());
        Some(entry)
    }

    fn insert_point(&mut self, point: PointId, entry: CachedPoint) {
        self.young.insert(point, entry);
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
            self.groups.retain(|_, group| group.strong_count() > 0);
        }
    }

    /// Group of a point if it is cached with the same access; else a new one of this reading.
    fn group_for(&mut self, read: &PointFact) -> Arc<GenerationFacts> {
        let key = (read.document, read.generation);
        let known = self.groups.get(&key).and_then(Weak::upgrade);
        if let Some(group) = known {
            if group.acl_revision == read.acl_revision {
                return group;
            }
            group.outdated.store(true, Ordering::Release);
        }
        let group = Arc::new(GenerationFacts {
            document: read.document,
            generation: read.generation,
            acl_revision: read.acl_revision,
            reading: self.readings,
            outdated: AtomicBool::new(false),
        });
        self.groups.insert(key, Arc::downgrade(&group));
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(number: usize) -> T {
        let text = format!("00000000-0000-0000-0000-{number:012}");
        text.parse().expect("an id")
    }

    fn fact(number: usize, document: usize, acl_revision: u64) -> (PointId, PointFact) {
        let fact = PointFact {
            chunk: id(number),
            gate: 0.5,
            document: id(document),
            generation: Generation(1),
            acl_revision,
        };
        (id(number), fact)
    }

    fn revision(facts: &PointFactCache, point: usize, when: u64) -> Option<u64> {
        let known = facts.known_at(&[id(point)], when);
        known.values().next().map(|fact| fact.acl_revision)
    }

    #[test]
    fn a_search_uses_what_was_known_before_it_asked() {
        let facts = PointFactCache::default();
        let before = facts.reading_count();
        facts.record_facts([fact(1, 1, 1), fact(2, 1, 1)]);
        assert_eq!(revision(&facts, 1, before), None);
        assert_eq!(revision(&facts, 1, facts.reading_count()), Some(1));
        assert_eq!(revision(&facts, 3, facts.reading_count()), None);
    }

    #[test]
    fn a_generation_that_was_read_with_another_access_is_read_again() {
        let facts = PointFactCache::default();
        facts.record_facts([fact(1, 1, 1), fact(2, 1, 1), fact(3, 2, 1)]);
        facts.record_facts([fact(2, 1, 2)]);
        let now = facts.reading_count();
        assert_eq!(revision(&facts, 1, now), None);
        assert_eq!(revision(&facts, 2, now), Some(2));
        assert_eq!(revision(&facts, 3, now), Some(1));
        facts.forget_generation((id(1), Generation(1)));
        assert_eq!(revision(&facts, 2, now), None);
        assert_eq!(revision(&facts, 3, now), Some(1));
    }

    #[test]
    fn no_more_points_are_remembered_than_there_is_room_for() {
        let facts = PointFactCache::default();
        for start in (0..3 * REMEMBERED).step_by(REMEMBERED / 2) {
            facts.record_facts((start..start + REMEMBERED / 2).map(|number| fact(number, number, 1)));
            // The first point is looked up in every round.
            assert_eq!(revision(&facts, 0, facts.reading_count()), Some(1), "{start}");
        }
        let table = facts.lock_table();
        assert!(table.young.len() + table.old.len() <= 2 * REMEMBERED);
        assert!(table.groups.len() <= 2 * REMEMBERED);
    }
}
