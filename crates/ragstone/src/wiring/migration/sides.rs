//! Two indexes of one library during a migration, each with the vectors of its own model.
//!
//! Invariant: what is visible in one is visible in both, with the same readers, or the write that made it so failed and
//! is retried. A write of one model's vectors reaches the other index only as the other model's vectors of the same
//! texts.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use ragstone_core::id::{DocumentId, Generation, PointId};
use ragstone_core::ingest::Ingestor;
use ragstone_core::seam::index::{DocumentGeneration, IndexError, IndexPoint, IndexSpec, VectorIndex};
use ragstone_core::seam::{Embedder, PointReader};
use tokio::sync::{Mutex, MutexGuard, RwLock as Gate};

/// Points that are read, embedded and written at once.
const BATCH: usize = 64;
/// Number of locks that all documents share.
const LOCKS: usize = 64;

/// An index and the model of its vectors.
pub struct IndexSide {
    /// Name of its own database; `None` if it is in the catalogue's.
    pub place: Option<String>,
    /// The index with its points.
    pub index: Arc<dyn VectorIndex>,
    /// Reads whole points of the same index.
    pub points: Arc<dyn PointReader>,
    /// Embedder of its model; `None` until it is loaded.
    embedder: RwLock<Option<Arc<dyn Embedder>>>,
}

impl IndexSide {
    /// A side whose embedder is not loaded yet.
    pub fn new<I: VectorIndex + PointReader + 'static>(place: Option<String>, index: Arc<I>) -> Arc<Self> {
        Arc::new(Self {
            place,
            points: index.clone(),
            index,
            embedder: RwLock::default(),
        })
    }

    /// Sets the embedder of its model.
    pub fn set_embedder(&self, embedder: Arc<dyn Embedder>) {
        *self.embedder.write().unwrap_or_else(PoisonError::into_inner) = Some(embedder);
    }

    /// The embedder of its model; a temporary error while it is unavailable.
    pub fn embedder(&self) -> Result<Arc<dyn Embedder>, IndexError> {
        let embedder = self.embedder.read().unwrap_or_else(PoisonError::into_inner);
        embedder
            .clone()
            .ok_or_else(|| unavailable_error("the model is being changed, and one of the two is not there"))
    }
}

/// The active index, and the shadow during a migration.
#[derive(Clone)]
pub struct ActiveAndShadow {
    /// The side that answers.
    pub active: Arc<IndexSide>,
    /// The side that receives the same writes; `None` without a migration.
    pub shadow: Option<Arc<IndexSide>>,
}

impl ActiveAndShadow {
    /// The other side than `side`, if there is one; an error if `side` is neither of the two.
    fn opposite_side(&self, side: &Arc<IndexSide>) -> Result<Option<Arc<IndexSide>>, IndexError> {
        match &self.shadow {
            other if Arc::ptr_eq(&self.active, side) => Ok(other.clone()),
            Some(other) if Arc::ptr_eq(other, side) => Ok(Some(self.active.clone())),
            _ => Err(unavailable_error("the library's model was changed meanwhile")),
        }
    }

    fn all_sides(&self) -> impl Iterator<Item = &Arc<IndexSide>> {
        std::iter::once(&self.active).chain(&self.shadow)
    }
}

/// The index of a library that may have two sides.
pub struct DualIndex {
    pair: RwLock<ActiveAndShadow>,
    /// Held shared by writes, and exclusively to add or remove a side, so that every write reaches all sides.
    gate: Gate<()>,
    /// Serialises copies of a document's points with changes of its readers; indexed by document id.
    locks: [Mutex<()>; LOCKS],
    ingestor: OnceLock<Weak<Ingestor>>,
}

impl DualIndex {
    /// A library's index with these sides.
    pub fn new(pair: ActiveAndShadow) -> Arc<Self> {
        Arc::new(Self {
            pair: RwLock::new(pair),
            gate: Gate::default(),
            locks: std::array::from_fn(|_| Mutex::default()),
            ingestor: OnceLock::new(),
        })
    }

    /// Sets the ingestor that embeds copies; once, before the first write.
    pub fn set_ingestor(&self, ingestor: &Arc<Ingestor>) {
        let _ = self.ingestor.set(Arc::downgrade(ingestor));
    }

    /// The sides at this moment.
    pub fn current_pair(&self) -> ActiveAndShadow {
        self.pair.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds or removes the shadow when no write is running.
    pub async fn set_shadow(&self, other: Option<Arc<IndexSide>>) {
        let _alone = self.gate.write().await;
        self.update_pair(|pair| pair.shadow = other);
    }

    /// Swaps the sides: the shadow becomes active.
    pub fn swap_sides(&self) {
        self.update_pair(|pair| {
            if let Some(other) = pair.shadow.take() {
                pair.shadow = Some(std::mem::replace(&mut pair.active, other));
            }
        });
    }

    fn update_pair(&self, change: impl FnOnce(&mut ActiveAndShadow)) {
        change(&mut self.pair.write().unwrap_or_else(PoisonError::into_inner));
    }

    async fn lock_document(&self, document: DocumentId) -> MutexGuard<'_, ()> {
        let at = document.0.as_u128() % LOCKS as u128;
        self.locks[at as usize].lock().await
    }

    /// Stores points of one side's model there, and in the other side the other model's vectors of the same texts.
    pub(super) async fn upsert_into(
        &self,
        side: Option<&Arc<IndexSide>>,
        points: Vec<IndexPoint>,
    ) -> Result<(), IndexError> {
        let _among_others = self.gate.read().await;
        let pair = self.current_pair();
        let unnamed = side.is_none() && points.iter().any(|point| point.dense.is_some());
        if unnamed && pair.shadow.is_some() {
            return Err(unavailable_error(
                "vectors cannot be taken in while the model is changed",
            ));
        }
        let side = side.unwrap_or(&pair.active);
        let beside = pair.opposite_side(side)?;
        if let Some(beside) = &beside {
            beside.embedder()?;
        }
        let runs = ordinal_ranges(&points);
        side.index.upsert_points(points).await?;
        let Some(beside) = beside else {
            return Ok(());
        };
        for (generation, ordinals) in runs {
            self.copy_points(side, &beside, generation, ordinals).await?;
        }
        Ok(())
    }

    /// Makes a generation visible in both sides, after copying what either lacks.
    pub(super) async fn publish_in_both(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        let _among_others = self.gate.read().await;
        let ActiveAndShadow { active, shadow: other } = self.current_pair();
        if let Some(other) = &other {
            self.copy_if_behind(&active, other, (document, generation)).await?;
            self.copy_if_behind(other, &active, (document, generation)).await?;
            self.publish_on_side(other, (document, generation)).await?;
        }
        active.index.publish_generation(document, generation).await
    }

    /// Applies a change to both sides under the document's lock, so that a concurrent copy cannot undo it.
    pub(super) async fn apply_to_both<F>(
        &self,
        document: DocumentId,
        change: impl Fn(Arc<dyn VectorIndex>) -> F,
    ) -> Result<(), IndexError>
    where
        F: Future<Output = Result<(), IndexError>>,
    {
        let _among_others = self.gate.read().await;
        let _one = self.lock_document(document).await;
        let pair = self.current_pair();
        // The active side is changed last: it is the one that says what exists.
        for side in pair.shadow.iter().chain([&pair.active]) {
            change(side.index.clone()).await?;
        }
        Ok(())
    }

    /// Copies a generation from `from` to `to`, if `to` has fewer of its points.
    pub async fn copy_if_behind(
        &self,
        from: &IndexSide,
        to: &IndexSide,
        generation: DocumentGeneration,
    ) -> Result<(), IndexError> {
        match count_points(from, generation).await? > count_points(to, generation).await? {
            true => self.copy_points(from, to, generation, 0..u32::MAX).await,
            false => Ok(()),
        }
    }

    /// Makes the points that a side has of a generation visible there.
    pub(super) async fn publish_on_side(
        &self,
        side: &IndexSide,
        (document, generation): DocumentGeneration,
    ) -> Result<(), IndexError> {
        let _one = self.lock_document(document).await;
        side.index.publish_generation(document, generation).await
    }

    /// Embeds without a lock; under the lock stores only points that still exist, with their current readers.
    async fn copy_points(
        &self,
        from: &IndexSide,
        to: &IndexSide,
        (document, generation): DocumentGeneration,
        ordinals: std::ops::Range<u32>,
    ) -> Result<(), IndexError> {
        let ingestor = self.ingestor.get().and_then(Weak::upgrade);
        let ingestor = ingestor.ok_or_else(|| unavailable_error("the process ends"))?;
        let embedder = to.embedder()?;
        let mut at = ordinals.start;
        while at < ordinals.end {
            let limit = BATCH.min((ordinals.end - at) as usize);
            let read = from.points.read_points(document, generation, at, limit).await?;
            let Some(last) = read.last() else {
                return Ok(());
            };
            let next = last.chunk.ordinal + 1;
            let made = ingestor.documents().reembed_points(embedder.as_ref(), read).await?;
            let _one = self.lock_document(document).await;
            let now = from.points.read_points(document, generation, at, limit).await?;
            to.index.upsert_points(with_current_access(made, now)).await?;
            at = next;
        }
        Ok(())
    }
}

/// The embedded points that still exist, with their current readers.
fn with_current_access(made: Vec<IndexPoint>, now: Vec<IndexPoint>) -> Vec<IndexPoint> {
    let mut now: HashMap<PointId, IndexPoint> = now.into_iter().map(|point| (point.id, point)).collect();
    let still = |made: IndexPoint| {
        let IndexPoint {
            acl,
            acl_revision,
            fields,
            ..
        } = now.remove(&made.id)?;
        Some(IndexPoint {
            acl,
            acl_revision,
            fields,
            ..made
        })
    };
    made.into_iter().filter_map(still).collect()
}

/// Number of points that a side has of a generation.
async fn count_points(side: &IndexSide, (document, generation): DocumentGeneration) -> Result<u64, IndexError> {
    let held = side.index.list_generations(Some(document)).await?;
    let of = held.iter().find(|(of, _)| *of == (document, generation));
    Ok(of.map_or(0, |(_, points)| *points))
}

/// The range of ordinals of each generation.
fn ordinal_ranges(points: &[IndexPoint]) -> HashMap<DocumentGeneration, std::ops::Range<u32>> {
    let mut runs: HashMap<DocumentGeneration, std::ops::Range<u32>> = HashMap::new();
    for point in points {
        let ordinal = point.chunk.ordinal;
        let run = runs
            .entry((point.chunk.document_id, point.generation))
            .or_insert(ordinal..ordinal + 1);
        *run = run.start.min(ordinal)..run.end.max(ordinal + 1);
    }
    runs
}

pub(super) fn unavailable_error(detail: &str) -> IndexError {
    IndexError::Unavailable {
        detail: detail.to_owned(),
    }
}

/// The index for the pipeline of one side's model: what it stores is copied to the other side.
pub struct PinnedIndex {
    /// Both sides of the library.
    pub dual_index: Arc<DualIndex>,
    /// Side whose vectors are stored.
    pub side: Arc<IndexSide>,
}

impl PinnedIndex {
    /// Prepares the side's index for `spec`; fails if the side was removed meanwhile.
    pub(super) async fn ensure_pinned(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        self.dual_index.current_pair().opposite_side(&self.side)?;
        self.side.index.prepare_index(spec).await
    }
}

impl DualIndex {
    /// Generations of both sides, with the active side's counts; those only in the other side have none.
    pub(super) async fn generations_of_both(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        let pair = self.current_pair();
        let mut held: HashMap<DocumentGeneration, u64> = HashMap::new();
        for (n, side) in pair.all_sides().enumerate() {
            for (generation, points) in side.index.list_generations(document).await? {
                let points = if n == 0 { points } else { 0 };
                held.entry(generation).or_insert(points);
            }
        }
        Ok(held.into_iter().collect())
    }
}
