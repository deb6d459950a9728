//! Changing the embedding model while the library answers: a second index is filled from the stored texts beside the first,
//! both are kept alike, and one row says which of them answers.
//!
//! Invariant: a question is answered by one model from beginning to end; a process that ends at any moment leaves a
//! library that answers by the side that its row names, and whoever opens it next goes on.

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

/// Gives the embedder of a model, fetched first if it has to be.
type EmbedderFactory = Arc<dyn Fn(TargetModel) -> BoxFuture<'static, anyhow::Result<Arc<dyn Embedder>>> + Send + Sync>;

/// What a model is changed by.
pub struct ModelMigration {
    settings: Settings,
    embedders: EmbedderFactory,
    catalogue: Arc<dyn Catalogue>,
    blobs: Arc<dyn ObjectStore>,
    library: Arc<Library>,
    vectors: Arc<EmbedderManager>,
    /// The data directory; none where the stores are shared.
    folder: Option<PathBuf>,
    /// Keeps room on its disk.
    reserve: Option<DiskReserve>,
    /// One command at a time.
    command_lock: Mutex<()>,
    /// Held while a side is filled, compared or given up.
    work_lock: Mutex<()>,
    /// Held while another side begins to answer, so that nobody is told of half of it.
    switch_lock: Mutex<()>,
    /// Tells the work to stop.
    halted: watch::Sender<bool>,
    /// Tells it to begin.
    wake: Notify,
    /// Whether this process fills, and not only keeps both sides alike.
    fills: AtomicBool,
    /// Why it does not get on.
    last_error: RwLock<Option<String>>,
}

/// How a change stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MigrationStatus {
    /// How far it is; `none` where no model is being changed.
    state: &'static str,
    /// The model before.
    from: Option<String>,
    /// The model after.
    to: Option<String>,
    /// The one that answers.
    answers: Option<String>,
    /// Points of the new side.
    done: u64,
    /// Points there are.
    total: u64,
    /// What the questions of the set found.
    compared: Option<GateComparison>,
    /// Why it does not get on.
    trouble: Option<String>,
    /// What the settings have to say for the model that answers.
    settings: Option<String>,
}

impl ModelMigration {
    /// Over these stores; nothing is begun.
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

    /// The settings with the model that answers in the place of theirs, while both are kept.
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

    /// What keeps both sides alike, and goes on with what is not filled yet; nothing for whoever only looks or asks.
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

    /// How it stands.
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

    /// Points of the new side, and of all there are.
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

    /// The change that is not finished, and what answers.
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

    /// Tells whoever wrote the settings which model they have to name.
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
