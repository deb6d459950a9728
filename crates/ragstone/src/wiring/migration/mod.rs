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

pub use record::{Active, Record};
pub use routes::router;
pub use sides::{OneSide, Pair, Side, Sides};

use super::ModelFetch;
use super::stores::Stores;
use super::vectors::Vectors;
use crate::config::Settings;
use record::{Compared, Phase, Target};

/// Gives the embedder of a model, fetched first if it has to be.
type Embedders = Arc<dyn Fn(Target) -> BoxFuture<'static, anyhow::Result<Arc<dyn Embedder>>> + Send + Sync>;

/// What a model is changed by.
pub struct Migration {
    settings: Settings,
    embedders: Embedders,
    catalogue: Arc<dyn Catalogue>,
    blobs: Arc<dyn ObjectStore>,
    library: Arc<Library>,
    vectors: Arc<Vectors>,
    /// The data directory; none where the stores are shared.
    folder: Option<PathBuf>,
    /// Keeps room on its disk.
    reserve: Option<DiskReserve>,
    /// One command at a time.
    verbs: Mutex<()>,
    /// Held while a side is filled, compared or given up.
    work: Mutex<()>,
    /// Held while another side begins to answer, so that nobody is told of half of it.
    turn: Mutex<()>,
    /// Tells the work to stop.
    halted: watch::Sender<bool>,
    /// Tells it to begin.
    wake: Notify,
    /// Whether this process fills, and not only keeps both sides alike.
    fills: AtomicBool,
    /// Why it does not get on.
    trouble: RwLock<Option<String>>,
}

/// How a change stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
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
    compared: Option<Compared>,
    /// Why it does not get on.
    trouble: Option<String>,
    /// What the settings have to say for the model that answers.
    settings: Option<String>,
}

impl Migration {
    /// Over these stores; nothing is begun.
    pub fn new(settings: &Settings, stores: &Stores, library: Arc<Library>, vectors: Arc<Vectors>) -> Self {
        Self {
            settings: settings.clone(),
            embedders: fill::embedders(settings.clone()),
            catalogue: stores.catalogue.clone(),
            blobs: stores.blobs.clone(),
            library,
            vectors,
            folder: stores.home.alone().map(|directory| directory.path().to_owned()),
            reserve: stores.reserve.clone(),
            verbs: Mutex::default(),
            work: Mutex::default(),
            turn: Mutex::default(),
            halted: watch::Sender::new(false),
            wake: Notify::new(),
            fills: AtomicBool::new(false),
            trouble: RwLock::default(),
        }
    }

    /// The settings with the model that answers in the place of theirs, while both are kept.
    pub async fn settings(&self) -> anyhow::Result<Settings> {
        Ok(match self.standing().await? {
            Some((record, active)) => record.by(active.as_ref()).0.target.over(&self.settings),
            None => self.settings.clone(),
        })
    }

    /// What keeps both sides alike, and goes on with what is not filled yet; nothing for whoever only looks or asks.
    pub fn keep(self: &Arc<Self>, fetch: &ModelFetch) -> Option<JoinHandle<()>> {
        match fetch {
            ModelFetch::Never | ModelFetch::Question(_) => return None,
            ModelFetch::Background => self.fills.store(true, Ordering::Relaxed),
            ModelFetch::Present | ModelFetch::Foreground(_) => {}
        }
        let sides = self.vectors.sides.clone()?;
        if sides.pair().other.is_some() {
            self.wake.notify_one();
        }
        Some(tokio::spawn(fill::keep(self.clone(), sides)))
    }

    /// How it stands.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let nothing = Status {
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
        let _turned = self.turn.lock().await;
        let Some((record, active)) = self.standing().await? else {
            return Ok(nothing);
        };
        let (done, total) = self.far(&record, active.as_ref()).await?;
        let answers = &record.by(active.as_ref()).0.target;
        let is_new = active.is_some_and(|active| active.spec == record.to.spec);
        Ok(Status {
            state: match (record.phase, is_new) {
                (_, true) => "switched",
                (Phase::Refused, false) => "refused",
                (Phase::RolledBack, false) => "rolled_back",
                (Phase::Filling | Phase::Switched, false) => "filling",
            },
            from: Some(record.from.target.words()),
            to: Some(record.to.target.words()),
            answers: Some(answers.words()),
            done,
            total,
            trouble: self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone(),
            settings: (*answers != Target::of(&self.settings)).then(|| answers.advice()),
            compared: record.compared,
        })
    }

    /// Points of the new side, and of all there are.
    async fn far(&self, record: &Record, active: Option<&Active>) -> anyhow::Result<(u64, u64)> {
        let Some(Pair {
            active: answers,
            other: Some(other),
        }) = self.vectors.sides.as_ref().map(|sides| sides.pair())
        else {
            return Ok((0, 0));
        };
        let (old, new) = match active.is_some_and(|active| active.spec == record.to.spec) {
            true => (other, answers),
            false => (answers, other),
        };
        let new: std::collections::HashMap<_, _> = new.index.generations(None).await?.into_iter().collect();
        let (mut done, mut total) = (0, 0);
        for (generation, points) in old.index.generations(None).await? {
            total += points;
            done += points.min(new.get(&generation).copied().unwrap_or_default());
        }
        Ok((done, total))
    }

    /// The change that is not finished, and what answers.
    async fn standing(&self) -> anyhow::Result<Option<(Record, Option<Active>)>> {
        let record = Record::read(self.catalogue.as_ref()).await?;
        Ok(match record {
            Some(record) => Some((record, Active::read(self.catalogue.as_ref()).await?)),
            None => None,
        })
    }

    fn note(&self, trouble: Option<String>) {
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Tells whoever wrote the settings which model they have to name.
    fn advise(&self, answers: &Target) {
        let differs = *answers != Target::of(&self.settings);
        self.vectors.advise(differs.then(|| {
            format!(
                "the settings name another model than the one that answers: {} before the change is finished",
                answers.advice()
            )
        }));
    }
}

/// Removes all points of an index.
pub async fn clear(index: &dyn VectorIndex) -> Result<(), IndexError> {
    for ((document, generation), _) in index.generations(None).await? {
        index.delete(document, generation).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
