//! From settings to a running whole: stores, library, ingestor, answerer, workers and the two doors.
//!
//! Invariant: this is the only module that names implementations.

mod absent;
mod answer;
mod arrival;
mod audit;
mod describe;
mod evaluations;
mod explain;
mod limits;
mod model;
mod options;
mod routes;
pub mod sources;
mod stores;
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
use ragstone_adapters::catalogue::sqlite::SqliteCatalogue;
use ragstone_adapters::data_dir::{DataDirectory, Locked, socket_of};
use ragstone_adapters::parse::PoolParser;
use ragstone_core::ingest::{Ingestor, Stores};
use ragstone_core::library::Library;
use ragstone_core::seam::{Catalogue, Embedder, Parser};
use ragstone_core::sync::Syncer;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;

pub use answer::judge;
pub use describe::{Description, describe, issuers, text_goes_to};
pub use model::{FetchSink, fetch as fetch_model, place as model_place};
pub use ragstone_adapters::embed::weights::FetchProgress;
pub use vectors::VectorState;
pub use workers::parser_pool;

use crate::clock::{clock, entropy, new_id, now, time};
use crate::config::{Problem, Settings, SettingsError};
use crate::http::{self, Api, Keyring, Readiness};
use crate::jobs::{WorkerOptions, Workers};
use crate::operator;
use crate::telemetry::audit::AuditLog;
use evaluations::Evaluations;
use stores::{open_blobs, open_cache, open_database};
use vectors::{Recipe, Vectors};
use workers::job_workers;

/// News of jobs that a slow listener may be behind.
const JOB_NEWS: usize = 1024;

/// What opening the data directory is for.
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
    /// This process has the data directory.
    Here(Box<App>),
    /// Another one has it.
    Elsewhere {
        /// Its process id, or `unknown`.
        holder: String,
    },
}

/// Everything of a process that has the data directory.
pub struct App {
    parts: Arc<Api>,
    api: Router,
    operator: Router,
    workers: Option<Workers>,
    background: Vec<JoinHandle<()>>,
    vectors: Arc<Vectors>,
    shutdown: Duration,
    audit: Option<AuditLog>,
    directory: DataDirectory,
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

    /// How the vectors stand.
    pub fn vectors(&self) -> VectorState {
        self.vectors.state()
    }

    /// How long jobs at work may go on when it ends.
    pub fn shutdown_bound(&self) -> Duration {
        self.shutdown
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
        if let Some(log) = self.audit.take() {
            log.close().await;
        }
        if let Err(error) = std::fs::remove_file(self.directory.socket()) {
            tracing::debug!(%error, "the socket was gone already");
        }
    }
}

/// Where the process that has the data directory listens.
pub fn socket(settings: &Settings) -> PathBuf {
    socket_of(&settings.data.directory)
}

/// Opens the data directory, unless another process has it.
pub async fn open(settings: &Settings, fetch: &ModelFetch) -> anyhow::Result<Opened> {
    let directory = match DataDirectory::open(&settings.data.directory) {
        Ok(directory) => directory,
        Err(Locked::Held { holder, .. }) => return Ok(Opened::Elsewhere { holder }),
        Err(error) => return Err(error.into()),
    };
    let built = build(settings, directory).await?;
    let app = built.start(settings, fetch).await?;
    Ok(Opened::Here(Box::new(app)))
}

/// The embedder of the settings, fetched first; an error where they want none.
pub async fn embedder(settings: &Settings, sink: &FetchSink) -> anyhow::Result<Arc<dyn Embedder>> {
    let embedder = model::embedder(settings, sink).await?;
    embedder.context("setting embed.provider is none: nothing embeds")
}

/// Everything, not running yet.
struct Built {
    directory: DataDirectory,
    catalogue: Arc<SqliteCatalogue>,
    library: Arc<Library>,
    ingestor: Arc<Ingestor>,
    vectors: Arc<Vectors>,
    doorbell: Arc<Notify>,
    events: broadcast::Sender<ragstone_core::id::JobId>,
    /// When the data directory became this process's.
    started: SystemTime,
}

async fn build(settings: &Settings, directory: DataDirectory) -> anyhow::Result<Built> {
    let started = now().into();
    let (catalogue, index) = open_database(directory.database()).await?;
    let blobs = open_blobs(&directory)?;
    let parser: Arc<dyn Parser> = Arc::new(PoolParser::new(parser_pool(settings)?));
    let recipe = Recipe {
        parser: parser.fingerprint().to_owned(),
        split: settings.split.settings(),
        structured: settings.split.structured,
    };
    let slot = Arc::default();
    let library = Library::new(catalogue.clone(), index.clone(), blobs.clone(), Arc::clone(&slot));
    let stores = Stores {
        catalogue: catalogue.clone(),
        index: index.clone(),
        blobs,
        parser,
        embeddings: open_cache(directory.cache(), settings.ingest.embedding_cache_bytes).await,
    };
    let pipeline = recipe.pipeline(None);
    let ingestor = Arc::new(Ingestor::new(
        stores,
        options::ingest(settings),
        pipeline,
        time(),
        new_id(),
    ));
    let doorbell = Arc::new(Notify::new());
    let vectors = Vectors {
        catalogue: catalogue.clone(),
        index,
        ingestor: ingestor.clone(),
        slot,
        recipe,
        operator: operator::of,
        doorbell: ring(&doorbell),
        state: RwLock::new(VectorState::Off),
        embedder: RwLock::default(),
        switching: Default::default(),
    };
    Ok(Built {
        directory,
        catalogue,
        library: Arc::new(library),
        ingestor,
        vectors: Arc::new(vectors),
        doorbell,
        events: broadcast::channel(JOB_NEWS).0,
        started,
    })
}

fn ring(doorbell: &Arc<Notify>) -> Arc<dyn Fn() + Send + Sync> {
    let doorbell = doorbell.clone();
    Arc::new(move || doorbell.notify_one())
}

impl Built {
    async fn start(self, settings: &Settings, fetch: &ModelFetch) -> anyhow::Result<App> {
        let taken_back = self.catalogue.take_back(self.ingestor.moment()).await?;
        if taken_back > 0 {
            tracing::info!(jobs = taken_back, "jobs of a process that ended are queued again");
        }
        let audit = audit::open(&settings.audit)?;
        let parts = Arc::new(self.api(settings, audit.clone())?);
        if let (ModelFetch::Background, Some(issuers)) = (fetch, &parts.settings.issuers) {
            issuers.prepare();
        }
        let api = http::router(parts.clone());
        let access = explain::Access {
            catalogue: self.catalogue.clone(),
            keys: self.catalogue.clone(),
            operator: operator::of,
            clock: clock(),
        };
        let operator = routes::operator_router(api.clone(), self.vectors.clone(), access)
            .merge(evaluations::router(self.evaluations(settings)?));
        let mut background = vec![routes::listen(&self.directory.socket(), operator.clone())?];
        background.extend(audit.clone().map(audit::reopen_when_told).transpose()?);
        background.extend(arrival::take_embedder(&self.vectors, settings, fetch).await);
        upkeep::calibrate(&self.library).await;
        let works = !matches!(fetch, ModelFetch::Never | ModelFetch::Question(_));
        // A command that comes and goes leaves the sweep to whoever stays, and `fsck` its findings.
        if matches!(fetch, ModelFetch::Background) {
            background.push(upkeep::sweep(
                self.ingestor.clone(),
                self.directory.blobs(),
                self.started,
                ring(&self.doorbell),
            ));
        }
        if matches!(fetch, ModelFetch::Background) {
            background.push(sources::keep_schedules(parts.syncer.clone()));
        }
        let workers = works.then(|| {
            let options = WorkerOptions {
                workers: job_workers(settings.jobs.workers),
                poll: Duration::from_secs(settings.jobs.poll_seconds),
                doorbell: self.doorbell.clone(),
                events: self.events.clone(),
                on_idle: upkeep::on_idle(&self.library),
            };
            Workers::start(&self.ingestor, &options)
        });
        Ok(App {
            parts,
            api,
            operator,
            workers,
            background,
            vectors: self.vectors,
            shutdown: Duration::from_secs(settings.server.shutdown_seconds),
            audit,
            directory: self.directory,
        })
    }

    fn evaluations(&self, settings: &Settings) -> anyhow::Result<Evaluations> {
        Ok(Evaluations {
            store: self.catalogue.clone(),
            catalogue: self.catalogue.clone(),
            library: self.library.clone(),
            vectors: self.vectors.clone(),
            settings: evaluations::settings_that_matter(settings),
            model: answer::chat_model(settings)?.describe().model,
            prompt: answer::prompt_digest(settings)?,
            clock: clock(),
        })
    }

    fn syncer(&self) -> Syncer {
        Syncer {
            sources: self.catalogue.clone(),
            catalogue: self.catalogue.clone(),
            ingestor: self.ingestor.clone(),
            open: Arc::new(sources::open),
            operator: operator::of,
            doorbell: ring(&self.doorbell),
            clock: clock(),
            new_id: new_id(),
            at_work: Default::default(),
        }
    }

    fn api(&self, settings: &Settings, audit: Option<AuditLog>) -> anyhow::Result<Api> {
        let chat = answer::chat_model(settings)?;
        let vectors = self.vectors.clone();
        Ok(Api {
            library: self.library.clone(),
            ingestor: self.ingestor.clone(),
            catalogue: self.catalogue.clone(),
            keys: Keyring::new(self.catalogue.clone(), entropy(), clock()),
            usage: self.catalogue.clone(),
            syncer: Arc::new(self.syncer()),
            idempotency: self.catalogue.clone(),
            audit,
            answerer: answer::answerer(settings, self.library.clone(), chat.clone())?,
            operator: operator::principal,
            doorbell: ring(&self.doorbell),
            job_events: self.events.clone(),
            readiness: Arc::new(move || readiness(&vectors, &chat.describe().model)),
            clock: clock(),
            new_id: new_id(),
            metrics: http::metrics::recorder(),
            settings: options::http(settings)?,
        })
    }
}

fn readiness(vectors: &Vectors, chat: &str) -> Readiness {
    let state = |name: &str, state: String| (name.to_owned(), state);
    Readiness {
        ready: true,
        dependencies: [
            state("catalogue", "ok".into()),
            state("index", "ok".into()),
            state("embedder", vectors.state().words()),
            state("chat", chat.to_owned()),
        ]
        .into(),
    }
}
