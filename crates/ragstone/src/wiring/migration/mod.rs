//! Changes the embedding model while the library answers: a shadow index is filled from the stored texts beside the
//! active one, writes go to both, and one row says which of them answers.
//!
//! Invariant: one model answers a question from beginning to end. A process that ends at any moment leaves a library
//! that answers by the side that the row names, and the next process resumes the migration.

mod compare;
mod fill;
mod record;
mod routes;
mod seams;
mod sides;
mod verbs;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use object_store::ObjectStore;
use ragstone_adapters::disk_reserve::DiskReserve;
use ragstone_core::library::Library;
use ragstone_core::seam::{Catalogue, Embedder, IndexError, VectorIndex};
use serde::Serialize;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinHandle;

pub use record::{ActiveIndex, MigrationRecord};
pub use routes::migration_router;
pub use sides::{ActiveAndShadow, DualIndex, IndexSide, PinnedIndex};

use super::ModelFetch;
use super::stores::StoreSet;
use super::vectors::EmbedderManager;
use crate::config::Settings;
use record::{GateComparison, MigrationPhase, TargetModel};

/// Loads the embedder of a model; fetches the model first if needed.
type EmbedderFactory = Arc<dyn Fn(TargetModel) -> BoxFuture<'static, anyhow::Result<Arc<dyn Embedder>>> + Send + Sync>;

/// A library's change of embedding model: commands and background work.
pub struct ModelMigration {
    settings: Settings,
    embedders: EmbedderFactory,
    catalogue: Arc<dyn Catalogue>,
    blobs: Arc<dyn ObjectStore>,
    library: Arc<Library>,
    vectors: Arc<EmbedderManager>,
    /// The data directory; `None` if stores are shared.
    folder: Option<PathBuf>,
    /// Reserve on the data directory's disk, for new databases there.
    reserve: Option<DiskReserve>,
    /// Serialises the operator's commands.
    command_lock: Mutex<()>,
    /// Held while the shadow is filled, compared or discarded.
    work_lock: Mutex<()>,
    /// Held while a switch is written, so that a status never shows half of it.
    switch_lock: Mutex<()>,
    /// Tells the background work to stop.
    halted: watch::Sender<bool>,
    /// Wakes the background work.
    wake: Notify,
    /// Whether this process fills the shadow, rather than only writing to both sides.
    fills: AtomicBool,
    /// Why the migration does not advance, if it does not.
    last_error: RwLock<Option<String>>,
}

/// Status of a migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MigrationStatus {
    /// Phase of the migration; `none` if no model is being changed.
    state: &'static str,
    /// The model before the migration.
    from: Option<String>,
    /// The model that the migration changes to.
    to: Option<String>,
    /// The model that answers.
    answers: Option<String>,
    /// Points in the new index.
    done: u64,
    /// Points to be made.
    total: u64,
    /// Result of the comparison, if one was made.
    compared: Option<GateComparison>,
    /// Why the migration does not advance, if it does not.
    trouble: Option<String>,
    /// What the settings must contain for the model that answers.
    settings: Option<String>,
}

impl ModelMigration {
    /// Creates it over these stores; starts nothing.
    pub fn new(settings: &Settings, stores: &StoreSet, library: Arc<Library>, vectors: Arc<EmbedderManager>) -> Self {
        Self {
            settings: settings.clone(),
            embedders: fill::embedder_factory(settings.clone()),
            catalogue: stores.catalogue.clone(),
            blobs: stores.blobs.clone(),
            library,
            vectors,
            folder: stores
                .location
                .local_directory()
                .map(|directory| directory.path().to_owned()),
            reserve: stores.reserve.clone(),
            command_lock: Mutex::default(),
            work_lock: Mutex::default(),
            switch_lock: Mutex::default(),
            halted: watch::Sender::new(false),
            wake: Notify::new(),
            fills: AtomicBool::new(false),
            last_error: RwLock::default(),
        }
    }

    /// The settings, with the model that answers in place of theirs while a migration is unfinished.
    pub async fn active_settings(&self) -> anyhow::Result<Settings> {
        Ok(match self.load_unfinished().await? {
            Some((record, active)) => record
                .active_and_other(active.as_ref())
                .0
                .target
                .apply_to(&self.settings),
            None => self.settings.clone(),
        })
    }

    /// Starts the worker that resumes an unfinished migration; `None` for a command that only reads or asks.
    pub fn start_worker(self: &Arc<Self>, fetch: &ModelFetch) -> Option<JoinHandle<()>> {
        match fetch {
            ModelFetch::Never | ModelFetch::Question(_) => return None,
            ModelFetch::Background => self.fills.store(true, Ordering::Relaxed),
            ModelFetch::Present | ModelFetch::Foreground(_) => {}
        }
        let sides = self.vectors.dual_index.clone()?;
        if sides.current_pair().shadow.is_some() {
            self.wake.notify_one();
        }
        Some(tokio::spawn(fill::run_migration_worker(self.clone(), sides)))
    }

    /// Status of the migration, with counts of points.
    pub async fn current_status(&self) -> anyhow::Result<MigrationStatus> {
        let nothing = MigrationStatus {
            state: "none",
            from: None,
            to: None,
            answers: None,
            done: 0,
            total: 0,
            compared: None,
            trouble: None,
            settings: None,
        };
        let _turned = self.switch_lock.lock().await;
        let Some((record, active)) = self.load_unfinished().await? else {
            return Ok(nothing);
        };
        let (done, total) = self.measure_progress(&record, active.as_ref()).await?;
        let answers = &record.active_and_other(active.as_ref()).0.target;
        let is_new = active.is_some_and(|active| active.spec == record.to.spec);
        Ok(MigrationStatus {
            state: match (record.phase, is_new) {
                (_, true) => "switched",
                (MigrationPhase::Refused, false) => "refused",
                (MigrationPhase::RolledBack, false) => "rolled_back",
                (MigrationPhase::Filling | MigrationPhase::Switched, false) => "filling",
            },
            from: Some(record.from.target.describe()),
            to: Some(record.to.target.describe()),
            answers: Some(answers.describe()),
            done,
            total,
            trouble: self.last_error.read().unwrap_or_else(PoisonError::into_inner).clone(),
            settings: (*answers != TargetModel::from_settings(&self.settings)).then(|| answers.describe_settings()),
            compared: record.compared,
        })
    }

    /// Counts the points of the new index, and all points to be made.
    async fn measure_progress(
        &self,
        record: &MigrationRecord,
        active: Option<&ActiveIndex>,
    ) -> anyhow::Result<(u64, u64)> {
        let Some(ActiveAndShadow {
            active: answers,
            shadow: Some(other),
        }) = self.vectors.dual_index.as_ref().map(|sides| sides.current_pair())
        else {
            return Ok((0, 0));
        };
        let (old, new) = match active.is_some_and(|active| active.spec == record.to.spec) {
            true => (other, answers),
            false => (answers, other),
        };
        let new: std::collections::HashMap<_, _> = new.index.list_generations(None).await?.into_iter().collect();
        let (mut done, mut total) = (0, 0);
        for (generation, points) in old.index.list_generations(None).await? {
            total += points;
            done += points.min(new.get(&generation).copied().unwrap_or_default());
        }
        Ok((done, total))
    }

    /// The unfinished migration, if any, and the active index.
    async fn load_unfinished(&self) -> anyhow::Result<Option<(MigrationRecord, Option<ActiveIndex>)>> {
        let record = MigrationRecord::load_from(self.catalogue.as_ref()).await?;
        Ok(match record {
            Some(record) => Some((record, ActiveIndex::load_from(self.catalogue.as_ref()).await?)),
            None => None,
        })
    }

    fn set_last_error(&self, trouble: Option<String>) {
        *self.last_error.write().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Advises the operator to name the answering model in the settings.
    fn advise_settings_change(&self, answers: &TargetModel) {
        let differs = *answers != TargetModel::from_settings(&self.settings);
        self.vectors.set_advice(differs.then(|| {
            format!(
                "the settings name another model than the one that answers: {} before the change is finished",
                answers.describe_settings()
            )
        }));
    }
}

/// Removes all points of an index.
pub async fn clear_index(index: &dyn VectorIndex) -> Result<(), IndexError> {
    for ((document, generation), _) in index.list_generations(None).await? {
        index.delete_generation(document, generation).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
