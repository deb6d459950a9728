//! Builds the running process from the settings: stores, library, ingestor, answerer, workers and the two routers.
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
use ragstone_adapters::data_dir::{DataDirectory, DataDirectoryError, socket_path_in};
use ragstone_adapters::parse::PoolParser;
use ragstone_core::id::JobId;
use ragstone_core::ingest::{self, Ingestor};
use ragstone_core::library::Library;
use ragstone_core::seam::{DocumentParser, Embedder, Notifier};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

pub use answer::{build_judge, drafting_model};
pub use describe::{SystemDescription, TrialOptions, describe_issuers, describe_system, list_text_destinations};
pub use fetcher::UrlFetcher;
pub use model::{FetchSink, fetch_weights as fetch_model, locate_model as model_place};
pub use options::trusted_proxies;
pub use ragstone_adapters::FEATURES;
pub use ragstone_adapters::embed::weights::FetchProgress;
pub use ragstone_adapters::sqlite::rollback::{ChangedSince, RollbackPlan};
pub use recover::{RecoveryOutcome, recover_database};
pub use rollback::UpgradeRollback;
pub use vectors::EmbedderState;
pub use workers::parser_pool;

use crate::clock::{new_id, system_time, utc_now};
use crate::config::{ServerRole, SettingProblem, Settings, SettingsError};
use crate::http::{self, ApiServices, ShutdownSignal};
use crate::jobs::WorkerPool;
use crate::operator;
use crate::telemetry::audit::AuditLog;
use health::HealthMonitor;
use migration::ModelMigration;
use stores::{OpenPurpose, ProcessRole, StoreLocation, StoreSet, open_local, open_shared};
use vectors::{EmbedderManager, PipelineRecipe};

/// How long completed uploads may take at shutdown to get their rows.
const ARRIVAL_BOUND: Duration = Duration::from_secs(5);
/// Capacity of the job event channel, in events.
const JOB_NEWS: usize = 1024;

/// Purpose of opening the stores, and how the embedding model is fetched for it.
#[derive(Clone)]
pub enum ModelFetch {
    /// Read only: no embedder and no workers.
    Never,
    /// Ask a question: the model is fetched first; no workers.
    Question(FetchSink),
    /// Do work, with the embedder only if nothing has to be fetched for it.
    Present,
    /// Do work; the model is fetched first.
    Foreground(FetchSink),
    /// Serve; the model is fetched in the background.
    Background,
}

/// Result of opening the stores.
pub enum OpenOutcome {
    /// This process owns the data directory, or shares the stores.
    Opened(Box<RunningApp>),
    /// Another process owns the data directory.
    InUse {
        /// Process id of the owner, or `unknown`.
        holder: String,
    },
}

/// All parts of a process that owns the data directory or shares the stores.
pub struct RunningApp {
    parts: Arc<ApiServices>,
    api: Router,
    operator: Router,
    workers: Option<WorkerPool>,
    background: Vec<JoinHandle<()>>,
    vectors: Arc<EmbedderManager>,
    shutdown: Duration,
    audit: Option<AuditLog>,
    location: StoreLocation,
    upgraded: Option<String>,
}

impl RunningApp {
    /// The router for external callers.
    pub fn api_router(&self) -> Router {
        self.api.clone()
    }

    /// The router for the local operator.
    pub fn operator_router(&self) -> Router {
        self.operator.clone()
    }

    /// Whether external callers have to authenticate.
    pub async fn is_guarded(&self) -> anyhow::Result<bool> {
        Ok(self.parts.is_auth_required().await?)
    }

    /// Refuses an address beyond this machine while callers need not authenticate.
    pub async fn check_listen_address(&self, address: SocketAddr) -> anyhow::Result<()> {
        if address.ip().is_loopback() || self.is_guarded().await? {
            return Ok(());
        }
        let detail = format!(
            "{address} is not a loopback address: make a key first (`ragstone key create`), or set \
             RAGSTONE_ADMIN_KEY or [[access.issuers]]"
        );
        Err(SettingsError(vec![SettingProblem {
            key: "server.listen".into(),
            place: String::new(),
            detail,
        }])
        .into())
    }

    /// What was migrated from an older release, and where the copy from before is; `None` if nothing was.
    pub fn upgrade_notice(&self) -> Option<&str> {
        self.upgraded.as_deref()
    }

    /// State of the embedder.
    pub fn embedder_state(&self) -> EmbedderState {
        self.vectors.state()
    }

    /// How long running jobs may continue at shutdown.
    pub fn shutdown_bound(&self) -> Duration {
        self.shutdown
    }

    /// Signals running answers that the process is shutting down.
    pub fn shutdown_handle(&self) -> ShutdownSignal {
        self.parts.shutdown.clone()
    }

    /// Shuts down: running jobs finish, or are handed back within the bound.
    pub async fn close(self) {
        let bound = tokio::time::sleep(self.shutdown);
        self.close_within(bound).await;
    }

    /// Shuts down: jobs that are still running when `patience` completes are handed back.
    pub async fn close_within(mut self, patience: impl Future<Output = ()>) {
        for task in self.background.drain(..) {
            task.abort();
        }
        if let Some(workers) = self.workers.take() {
            workers.stop(patience).await;
        }
        self.parts.upload_tasks.close();
        if tokio::time::timeout(ARRIVAL_BOUND, self.parts.upload_tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("uploads without a row are left to the sweep");
        }
        self.parts.ingestor.incoming().remove_abandoned().await;
        upkeep::mark_progress(&self.parts.ingestor).await;
        if let Some(log) = self.audit.take() {
            log.close().await;
        }
        if let Some(directory) = self.location.local_directory()
            && let Err(error) = std::fs::remove_file(directory.socket_path())
        {
            tracing::debug!(%error, "the socket was gone already");
        }
    }
}

/// Path of the socket of the process that owns the data directory.
pub fn socket_path(settings: &Settings) -> PathBuf {
    socket_path_in(&settings.data.directory)
}

/// Opens the stores of the settings: the shared ones, or the data directory's unless another process owns it.
pub async fn open_app(settings: &Settings, fetch: &ModelFetch) -> anyhow::Result<OpenOutcome> {
    let stores = match settings.shared_stores() {
        Some(set) => open_shared(settings, &set, process_role(settings, fetch), OpenPurpose::Use).await?,
        None => match DataDirectory::open(&settings.data.directory) {
            Ok(directory) => open_local(settings, directory, OpenPurpose::Use).await?,
            Err(DataDirectoryError::InUse { holder, .. }) => return Ok(OpenOutcome::InUse { holder }),
            Err(error) => return Err(error.into()),
        },
    };
    let built = build_process(settings, stores)?;
    let app = built.start_app(settings, fetch).await?;
    Ok(OpenOutcome::Opened(Box::new(app)))
}

fn process_role(settings: &Settings, fetch: &ModelFetch) -> ProcessRole {
    match fetch {
        ModelFetch::Background if settings.server.role.runs_jobs() => ProcessRole::Worker,
        ModelFetch::Background => ProcessRole::Server,
        _ => ProcessRole::Command,
    }
}

/// The embedder of the settings, fetched first; an error if they want none.
pub async fn require_embedder(settings: &Settings, sink: &FetchSink) -> anyhow::Result<Arc<dyn Embedder>> {
    let embedder = model::load_embedder(settings, sink).await?;
    embedder.context("setting embed.provider is none: nothing embeds")
}

/// All parts, built but not started.
struct BuiltProcess {
    stores: StoreSet,
    library: Arc<Library>,
    ingestor: Arc<Ingestor>,
    vectors: Arc<EmbedderManager>,
    migration: Arc<ModelMigration>,
    health: Arc<HealthMonitor>,
    events: broadcast::Sender<JobId>,
    /// When the stores were opened; older unfinished files belong to a dead process.
    started: SystemTime,
}

fn build_process(settings: &Settings, mut stores: StoreSet) -> anyhow::Result<BuiltProcess> {
    let started = utc_now().into();
    let parser: Arc<dyn DocumentParser> = Arc::new(PoolParser::new(parser_pool(settings)?));
    let recipe = PipelineRecipe {
        parser: parser.fingerprint().to_owned(),
        split: settings.split.splitter_settings(),
        structured: settings.split.structured,
    };
    let (catalogue, index, blobs) = (&stores.catalogue, &stores.index, &stores.blobs);
    let slot = Arc::default();
    let library = Library::new(catalogue.clone(), index.clone(), blobs.clone(), Arc::clone(&slot));
    let written = ingest::IngestStores {
        catalogue: catalogue.clone(),
        index: index.clone(),
        blobs: blobs.clone(),
        parser,
        embeddings: stores.embeddings.clone(),
    };
    let ingestor = Arc::new(Ingestor::new(
        written,
        options::ingest_settings(settings, stores.library.clone()),
        recipe.build_pipeline(None),
        system_time(),
        new_id(),
    ));
    let vectors = EmbedderManager {
        catalogue: catalogue.clone(),
        index: index.clone(),
        ingestor: ingestor.clone(),
        slot,
        recipe,
        operator: operator::operator_principal_of,
        notify_workers: notify_callback(&stores.notifier),
        state: RwLock::new(EmbedderState::Off),
        embedder: RwLock::default(),
        shared: stores.location.is_shared(),
        switching: Default::default(),
        dual_index: stores.dual_index.clone(),
        advice: RwLock::default(),
    };
    if let Some(sides) = &stores.dual_index {
        sides.set_ingestor(&ingestor);
    }
    let (library, vectors) = (Arc::new(library), Arc::new(vectors));
    let migration = ModelMigration::new(settings, &stores, library.clone(), vectors.clone());
    Ok(BuiltProcess {
        health: HealthMonitor::new(std::mem::take(&mut stores.probes), stores.reserve.clone()),
        stores,
        library,
        ingestor,
        vectors,
        migration: Arc::new(migration),
        events: broadcast::channel(JOB_NEWS).0,
        started,
    })
}

fn notify_callback(doorbell: &Arc<dyn Notifier>) -> Arc<dyn Fn() + Send + Sync> {
    let doorbell = doorbell.clone();
    Arc::new(move || doorbell.notify_workers())
}

impl BuiltProcess {
    /// Removes what the previous process was receiving when it died: no document refers to it.
    async fn remove_crash_leftovers(&self) {
        if !self
            .stores
            .location
            .local_directory()
            .is_some_and(DataDirectory::follows_crash)
        {
            return;
        }
        match self.ingestor.consistency().sweep_incoming().await {
            Ok(0) => {}
            Ok(uploads) => tracing::info!(uploads, "uploads of a process that ended are removed"),
            Err(error) => tracing::warn!(%error, "uploads of a process that ended are left to the sweep"),
        }
    }

    async fn start_app(self, settings: &Settings, fetch: &ModelFetch) -> anyhow::Result<RunningApp> {
        let taken_back = self
            .stores
            .catalogue
            .requeue_interrupted_jobs(self.ingestor.current_moment())
            .await?;
        if taken_back > 0 {
            tracing::info!(jobs = taken_back, "jobs of a process that ended are queued again");
        }
        self.remove_crash_leftovers().await;
        let audit = audit::open_audit_log(&settings.audit)?;
        let parts = Arc::new(self.build_api(settings, audit.clone())?);
        if let (ModelFetch::Background, Some(issuers)) = (fetch, &parts.settings.issuers) {
            issuers.prefetch_keys();
        }
        let api = http::build_router(parts.clone());
        let operator = self.operator_router(settings, &parts, &api)?;
        let mut background = self.start_background_tasks(settings, fetch, &operator).await?;
        if matches!(fetch, ModelFetch::Background) {
            background.push(upkeep::forget_answers(parts.clone(), &settings.feedback));
        }
        if matches!(fetch, ModelFetch::Background) && settings.server.role.runs_jobs() {
            background.push(sources::run_schedules(parts.syncer.clone()));
        }
        background.extend(audit.clone().map(audit::reopen_on_hangup).transpose()?);
        let works = match fetch {
            ModelFetch::Never | ModelFetch::Question(_) => false,
            // A short-lived command leaves its jobs to the workers of the shared stores.
            ModelFetch::Present | ModelFetch::Foreground(_) => !self.stores.location.is_shared(),
            ModelFetch::Background => settings.server.role.runs_jobs(),
        };
        let workers = works.then(|| WorkerPool::start(&self.ingestor, &self.worker_options(settings)));
        let outside = match settings.server.role {
            ServerRole::Worker => http::build_worker_router(parts.clone()),
            ServerRole::Api | ServerRole::All => api,
        };
        Ok(RunningApp {
            parts,
            api: outside,
            operator,
            workers,
            background,
            vectors: self.vectors,
            shutdown: Duration::from_secs(settings.server.shutdown_seconds),
            audit,
            upgraded: self.stores.upgraded,
            location: self.stores.location,
        })
    }
}
