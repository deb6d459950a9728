//! How the shared stores are: looked at now and then, so that whoever asks `/readyz` waits for nobody.
//!
//! Invariant: a store that cannot be reached is named within [`LOOK_EACH`] and [`PATIENCE`]; one without which questions
//! can still be answered leaves the process ready.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::join_all;
use ragstone_adapters::disk_reserve::DiskReserve;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::disk::describe_disk;
use super::stores::StoreProbe;
use super::vectors::{EmbedderManager, EmbedderState};
use crate::http::ReadinessReport;

/// Between two looks.
const LOOK_EACH: Duration = Duration::from_secs(2);
/// How long a store may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is told of a store that answers.
const OK: &str = "ok";

/// What was seen last.
pub struct HealthMonitor {
    probes: Vec<StoreProbe>,
    /// Of the data directory's disk.
    reserve: Option<DiskReserve>,
    seen: RwLock<BTreeMap<&'static str, Result<(), String>>>,
}

impl HealthMonitor {
    /// Nothing was seen yet.
    pub fn new(probes: Vec<StoreProbe>, reserve: Option<DiskReserve>) -> Arc<Self> {
        Arc::new(Self {
            probes,
            reserve,
            seen: RwLock::default(),
        })
    }

    /// Looks once, and again and again in the background; nothing where nothing can be away.
    pub async fn start_watching(self: &Arc<Self>, vectors: Arc<EmbedderManager>) -> Option<JoinHandle<()>> {
        if self.probes.is_empty() {
            return None;
        }
        self.probe_stores().await;
        let health = self.clone();
        Some(tokio::spawn(async move {
            loop {
                sleep(LOOK_EACH).await;
                health.probe_stores().await;
                if let Err(error) = vectors.follow_library().await {
                    tracing::debug!("which embedder the library uses is not known: {error:#}");
                }
            }
        }))
    }

    async fn probe_stores(&self) {
        let asked = self.probes.iter().map(async |probe| {
            let late = |_| Err(format!("no answer within {PATIENCE:?}"));
            let found = timeout(PATIENCE, (probe.ask)()).await.unwrap_or_else(late);
            (probe.name, found)
        });
        for (name, found) in join_all(asked).await {
            self.record_probe(name, found);
        }
    }

    /// Says in the log what changed.
    fn record_probe(&self, name: &'static str, found: Result<(), String>) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let before = seen.insert(name, found.clone());
        match (before, found) {
            (Some(Err(_)), Ok(())) => tracing::info!("{name} answers again"),
            (None | Some(Ok(())), Err(error)) => tracing::warn!("{name} is down: {error}"),
            _ => {}
        }
    }

    /// For `/readyz`.
    pub fn current_readiness(&self, vectors: &EmbedderManager, chat: &str) -> ReadinessReport {
        let mut dependencies: BTreeMap<String, String> = ["catalogue", "index"]
            .map(|name| (name.to_owned(), OK.to_owned()))
            .into();
        let state = vectors.state();
        // A process that does not fit the shared stores must not be asked; one alone answers by words.
        let mut ready = self.probes.is_empty() || !matches!(state, EmbedderState::Mismatch(_));
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        for probe in &self.probes {
            let found = seen.get(probe.name);
            let words = match found {
                Some(Ok(())) => OK.to_owned(),
                Some(Err(error)) => format!("down: {error}"),
                None => "not asked yet".to_owned(),
            };
            ready &= !probe.needed || found.is_some_and(Result::is_ok);
            dependencies.insert(probe.name.to_owned(), words);
        }
        // Questions are answered, and documents deleted, on a full disk too.
        if let Some(reserve) = &self.reserve {
            dependencies.insert("disk".to_owned(), describe_disk(reserve));
        }
        dependencies.insert("embedder".to_owned(), vectors.describe());
        dependencies.insert("chat".to_owned(), chat.to_owned());
        ReadinessReport { ready, dependencies }
    }
}
