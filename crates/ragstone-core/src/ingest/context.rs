//! What every part of ingestion stands on: stores, settings, clocks, ids, and the pipeline of new versions.
//!
//! Invariant: knows nothing of documents and jobs; whatever has steps stands in the part that takes them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use time::OffsetDateTime;
use uuid::Uuid;

use super::pipeline::IngestPipeline;
use super::settings::IngestSettings;
use crate::seam::catalogue::ClockReading;
use crate::seam::{Catalogue, DocumentParser, EmbeddingCache, VectorIndex};

/// Tells the time.
pub type WallClockFn = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;
/// Gives a fresh random id.
pub type IdGenerator = Arc<dyn Fn() -> Uuid + Send + Sync>;

/// What ingestion stands on.
pub struct IngestStores {
    /// The truth about documents and jobs.
    pub catalogue: Arc<dyn Catalogue>,
    /// Where chunks are found.
    pub index: Arc<dyn VectorIndex>,
    /// Originals and extracted text.
    pub blobs: Arc<dyn ObjectStore>,
    /// Bytes to text.
    pub parser: Arc<dyn DocumentParser>,
    /// What was embedded before; none where nothing is kept of it.
    pub embeddings: Option<Arc<dyn EmbeddingCache>>,
}

/// Tells the time since the process started; it only grows.
pub type MonotonicClockFn = Arc<dyn Fn() -> Duration + Send + Sync>;
/// Ends after the given time.
pub type SleepFn = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// What ingestion knows of time.
#[derive(Clone)]
pub struct TimeProvider {
    /// For people.
    pub wall: WallClockFn,
    /// For leases and waits.
    pub steady: MonotonicClockFn,
    /// Waits.
    pub sleep: SleepFn,
}

/// The stores, settings, clocks and ids that the parts of an ingestor share.
pub(super) struct IngestContext {
    pub(super) stores: IngestStores,
    pub(super) settings: IngestSettings,
    pipeline: RwLock<Arc<IngestPipeline>>,
    time: TimeProvider,
    new_id: IdGenerator,
}

impl IngestContext {
    pub(super) fn new(
        stores: IngestStores,
        settings: IngestSettings,
        pipeline: IngestPipeline,
        time: TimeProvider,
        new_id: IdGenerator,
    ) -> Self {
        Self {
            stores,
            settings,
            pipeline: RwLock::new(Arc::new(pipeline)),
            time,
            new_id,
        }
    }

    /// The time of day.
    pub(super) fn now(&self) -> OffsetDateTime {
        (self.time.wall)()
    }

    /// A fresh random id.
    pub(super) fn new_id(&self) -> Uuid {
        (self.new_id)()
    }

    /// The pipeline that makes new versions.
    pub(super) fn pipeline(&self) -> Arc<IngestPipeline> {
        self.pipeline.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes new versions by another pipeline from now on; running jobs end with theirs.
    pub(super) fn set_pipeline(&self, pipeline: IngestPipeline) {
        *self.pipeline.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pipeline);
    }

    /// This moment.
    pub(super) fn current_moment(&self) -> ClockReading {
        ClockReading {
            wall: (self.time.wall)(),
            steady: (self.time.steady)(),
        }
    }

    /// Waits.
    pub(super) async fn sleep_for(&self, time: Duration) {
        (self.time.sleep)(time).await;
    }

    /// Removes a blob; one that is gone already, by another hand, is removed.
    pub(super) async fn remove_blob(&self, key: &Path) -> object_store::Result<()> {
        match self.stores.blobs.delete(key).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            deleted => deleted,
        }
    }
}
