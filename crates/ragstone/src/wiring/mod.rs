//! From settings to a running whole: stores, library, ingestor, answerer, workers and the two doors.
//!
//! Invariant: this is the only module that names implementations.

mod absent;
mod answer;
mod arrival;
mod audit;
mod background;
mod describe;
mod disk;
mod evaluations;
mod fetcher;
mod health;
mod limits;
mod migration;
mod model;
mod moving;
mod options;
mod parts;
mod recover;
mod rollback;
mod routes;
pub mod sources;
mod stores;
mod trial;
mod upkeep;
mod vectors;
mod workers;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum::Router;
use ragstone_adapters::data_dir::{DataDirectory, Locked, socket_of};
use ragstone_adapters::parse::PoolParser;
use ragstone_core::id::JobId;
use ragstone_core::ingest::{self, Ingestor};
use ragstone_core::library::Library;
use ragstone_core::seam::{Doorbell, Embedder, Parser};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

pub use answer::{drafter, judge};
pub use describe::{Description, Trials, describe, issuers, text_goes_to};
pub use fetcher::Fetcher;
pub use model::{FetchSink, fetch as fetch_model, place as model_place};
pub use options::trusted_proxies;
pub use ragstone_adapters::embed::weights::FetchProgress;
pub use ragstone_adapters::sqlite::rollback::{ChangedSince, WayBack};
pub use recover::{Recovery, recover};
pub use rollback::Rollback;
pub use vectors::VectorState;
pub use workers::parser_pool;

use crate::clock::{new_id, now, time};
use crate::config::{Problem, Role, Settings, SettingsError};
use crate::http::{self, Api, Shutdown};
use crate::jobs::Workers;
use crate::operator;
use crate::telemetry::audit::AuditLog;
use health::Health;
use migration::Migration;
use stores::{Home, Purpose, Reached, Stores, open_local, open_shared};
use vectors::{Recipe, Vectors};

/// How long uploads that have all their bytes may take to get their rows when the process ends.
const ARRIVAL_BOUND: Duration = Duration::from_secs(5);
/// News of jobs that a slow listener may be behind.
const JOB_NEWS: usize = 1024;

/// What opening the stores is for.
#[derive(Clone)]
pub enum ModelFetch {
    /// To look: no embedder and no workers.
    Never,
    /// To ask: the model is fetched before, and there are no workers.
    Question(FetchSink),
    /// To work, with the embedder if nothing has to be fetched for it.
    Present,
    /// To work; the model is fetched before.
    Foreground(FetchSink),
    /// To serve; the model is fetched meanwhile.
    Background,
}

/// What came of opening.
pub enum Opened {
    /// This process has the data directory, or shares the stores.
    Here(Box<App>),
    /// Another one has the data directory.
    Elsewhere {
        /// Its process id, or `unknown`.
        holder: String,
    },
}

/// Everything of a process that has the data directory, or shares the stores.
pub struct App {
    parts: Arc<Api>,
    api: Router,
    operator: Router,
    workers: Option<Workers>,
    background: Vec<JoinHandle<()>>,
    vectors: Arc<Vectors>,
    shutdown: Duration,
    audit: Option<AuditLog>,
    home: Home,
    upgraded: Option<String>,
}

impl App {
    /// The router for callers from outside.
    pub fn router(&self) -> Router {
        self.api.clone()
    }

    /// The router for the local operator.
    pub fn operator_router(&self) -> Router {
        self.operator.clone()
    }

    /// Whether callers from outside have to prove who they are.
    pub async fn is_guarded(&self) -> anyhow::Result<bool> {
        Ok(self.parts.is_guarded().await?)
    }

    /// Refuses to serve beyond this machine while nobody has to prove anything.
    pub async fn may_listen(&self, address: SocketAddr) -> anyhow::Result<()> {
        if address.ip().is_loopback() || self.is_guarded().await? {
            return Ok(());
        }
        let detail = format!(
            "{address} is not a loopback address: make a key first (`ragstone key create`), or set \
             RAGSTONE_ADMIN_KEY or [[access.issuers]]"
        );
        Err(SettingsError(vec![Problem {
            key: "server.listen".into(),
            place: String::new(),
            detail,
        }])
        .into())
    }

    /// What opening the data directory changed because an older release had left it, and where the copy from before is.
    pub fn upgraded(&self) -> Option<&str> {
        self.upgraded.as_deref()
    }

    /// How the vectors stand.
    pub fn vectors(&self) -> VectorState {
        self.vectors.state()
    }

    /// How long jobs at work may go on when it ends.
    pub fn shutdown_bound(&self) -> Duration {
        self.shutdown
    }

    /// Told to whoever is being answered when the process ends.
    pub fn shutdown(&self) -> Shutdown {
        self.parts.shutdown.clone()
    }

    /// Ends it: jobs at work are finished, or handed back within the bound.
    pub async fn close(self) {
        let bound = tokio::time::sleep(self.shutdown);
        self.close_within(bound).await;
    }

    /// Ends it: jobs that are still at work when `patience` ends are handed back.
    pub async fn close_within(mut self, patience: impl Future<Output = ()>) {
        for task in self.background.drain(..) {
            task.abort();
        }
        if let Some(workers) = self.workers.take() {
            workers.stop(patience).await;
        }
        self.parts.arrivals.close();
        if tokio::time::timeout(ARRIVAL_BOUND, self.parts.arrivals.wait())
            .await
            .is_err()
        {
            tracing::warn!("uploads without a row are left to the sweep");
        }
        self.parts.ingestor.remove_abandoned().await;
        upkeep::mark(&self.parts.ingestor).await;
        if let Some(log) = self.audit.take() {
            log.close().await;
        }
        if let Some(directory) = self.home.alone()
            && let Err(error) = std::fs::remove_file(directory.socket())
        {
            tracing::debug!(%error, "the socket was gone already");
        }
    }
}

/// Where the process that has the data directory listens.
pub fn socket(settings: &Settings) -> PathBuf {
    socket_of(&settings.data.directory)
}

/// Opens the stores of the settings: the shared ones, or those of the data directory unless another process has it.
pub async fn open(settings: &Settings, fetch: &ModelFetch) -> anyhow::Result<Opened> {
    let stores = match settings.shared() {
        Some(set) => open_shared(settings, &set, reached(settings, fetch), Purpose::Use).await?,
        None => match DataDirectory::open(&settings.data.directory) {
            Ok(directory) => open_local(settings, directory, Purpose::Use).await?,
            Err(Locked::Held { holder, .. }) => return Ok(Opened::Elsewhere { holder }),
            Err(error) => return Err(error.into()),
        },
    };
    let built = build(settings, stores)?;
    let app = built.start(settings, fetch).await?;
    Ok(Opened::Here(Box::new(app)))
}

fn reached(settings: &Settings, fetch: &ModelFetch) -> Reached {
    match fetch {
        ModelFetch::Background if settings.server.role.works() => Reached::Working,
        ModelFetch::Background => Reached::Serving,
        _ => Reached::Asking,
    }
}

/// The embedder of the settings, fetched first; an error where they want none.
pub async fn embedder(settings: &Settings, sink: &FetchSink) -> anyhow::Result<Arc<dyn Embedder>> {
    let embedder = model::embedder(settings, sink).await?;
    embedder.context("setting embed.provider is none: nothing embeds")
}

/// Everything, not running yet.
struct Built {
    stores: Stores,
    library: Arc<Library>,
    ingestor: Arc<Ingestor>,
    vectors: Arc<Vectors>,
    migration: Arc<Migration>,
    health: Arc<Health>,
    events: broadcast::Sender<JobId>,
    /// When the stores were opened.
    started: SystemTime,
}

fn build(settings: &Settings, mut stores: Stores) -> anyhow::Result<Built> {
    let started = now().into();
    let parser: Arc<dyn Parser> = Arc::new(PoolParser::new(parser_pool(settings)?));
    let recipe = Recipe {
        parser: parser.fingerprint().to_owned(),
        split: settings.split.settings(),
        structured: settings.split.structured,
    };
    let (catalogue, index, blobs) = (&stores.catalogue, &stores.index, &stores.blobs);
    let slot = Arc::default();
    let library = Library::new(catalogue.clone(), index.clone(), blobs.clone(), Arc::clone(&slot));
    let written = ingest::Stores {
        catalogue: catalogue.clone(),
        index: index.clone(),
        blobs: blobs.clone(),
        parser,
        embeddings: stores.embeddings.clone(),
    };
    let ingestor = Arc::new(Ingestor::new(
        written,
        options::ingest(settings, stores.library.clone()),
        recipe.pipeline(None),
        time(),
        new_id(),
    ));
    let vectors = Vectors {
        catalogue: catalogue.clone(),
        index: index.clone(),
        ingestor: ingestor.clone(),
        slot,
        recipe,
        operator: operator::of,
        doorbell: ring(&stores.doorbell),
        state: RwLock::new(VectorState::Off),
        embedder: RwLock::default(),
        shared: stores.home.is_shared(),
        switching: Default::default(),
        sides: stores.sides.clone(),
        advice: RwLock::default(),
    };
    if let Some(sides) = &stores.sides {
        sides.made_by(&ingestor);
    }
    let (library, vectors) = (Arc::new(library), Arc::new(vectors));
    let migration = Migration::new(settings, &stores, library.clone(), vectors.clone());
    Ok(Built {
        health: Health::new(std::mem::take(&mut stores.probes), stores.reserve.clone()),
        stores,
        library,
        ingestor,
        vectors,
        migration: Arc::new(migration),
        events: broadcast::channel(JOB_NEWS).0,
        started,
    })
}

fn ring(doorbell: &Arc<dyn Doorbell>) -> Arc<dyn Fn() + Send + Sync> {
    let doorbell = doorbell.clone();
    Arc::new(move || doorbell.ring())
}

impl Built {
    /// What the process before this one was receiving when it died is nobody's.
    async fn finish_death(&self) {
        if !self.stores.home.alone().is_some_and(DataDirectory::follows_a_death) {
            return;
        }
        match self.ingestor.sweep_incoming().await {
            Ok(0) => {}
            Ok(uploads) => tracing::info!(uploads, "uploads of a process that ended are removed"),
            Err(error) => tracing::warn!(%error, "uploads of a process that ended are left to the sweep"),
        }
    }

    async fn start(self, settings: &Settings, fetch: &ModelFetch) -> anyhow::Result<App> {
        let taken_back = self.stores.catalogue.take_back(self.ingestor.moment()).await?;
        if taken_back > 0 {
            tracing::info!(jobs = taken_back, "jobs of a process that ended are queued again");
        }
        self.finish_death().await;
        let audit = audit::open(&settings.audit)?;
        let parts = Arc::new(self.api(settings, audit.clone())?);
        if let (ModelFetch::Background, Some(issuers)) = (fetch, &parts.settings.issuers) {
            issuers.prepare();
        }
        let api = http::router(parts.clone());
        let operator = self.operator_router(settings, &parts, &api)?;
        let mut background = self.background(settings, fetch, &operator).await?;
        if matches!(fetch, ModelFetch::Background) {
            background.push(upkeep::forget_answers(parts.clone(), &settings.feedback));
        }
        if matches!(fetch, ModelFetch::Background) && settings.server.role.works() {
            background.push(sources::keep_schedules(parts.syncer.clone()));
        }
        background.extend(audit.clone().map(audit::reopen_when_told).transpose()?);
        let works = match fetch {
            ModelFetch::Never | ModelFetch::Question(_) => false,
            // A command hands what it began to the workers of the shared stores.
            ModelFetch::Present | ModelFetch::Foreground(_) => !self.stores.home.is_shared(),
            ModelFetch::Background => settings.server.role.works(),
        };
        let workers = works.then(|| Workers::start(&self.ingestor, &self.worker_options(settings)));
        let outside = match settings.server.role {
            Role::Worker => http::worker_router(parts.clone()),
            Role::Api | Role::All => api,
        };
        Ok(App {
            parts,
            api: outside,
            operator,
            workers,
            background,
            vectors: self.vectors,
            shutdown: Duration::from_secs(settings.server.shutdown_seconds),
            audit,
            upgraded: self.stores.upgraded,
            home: self.stores.home,
        })
    }
}
