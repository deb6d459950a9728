//! Health of the shared stores: probed at intervals, so that `/readyz` answers at once.
//!
//! Invariant: an unreachable store is named within [`LOOK_EACH`] and [`PATIENCE`]; if questions can still be answered
//! without it, the process stays ready.

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

/// Interval between two probes.
const LOOK_EACH: Duration = Duration::from_secs(2);
/// Longest time a store may take to answer a probe.
const PATIENCE: Duration = Duration::from_secs(5);
/// Status of a store that answers.
const OK: &str = "ok";

/// Results of the latest probes.
pub struct HealthMonitor {
    probes: Vec<StoreProbe>,
    /// Reserve on the data directory's disk, if there is one.
    reserve: Option<DiskReserve>,
    seen: RwLock<BTreeMap<&'static str, Result<(), String>>>,
}

impl HealthMonitor {
    /// A monitor that has probed nothing yet.
    pub fn new(probes: Vec<StoreProbe>, reserve: Option<DiskReserve>) -> Arc<Self> {
        Arc::new(Self {
            probes,
            reserve,
            seen: RwLock::default(),
        })
    }

    /// Probes once, then at intervals in the background. `None` if there is nothing to probe.
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

    /// Records a result; logs only changes.
    fn record_probe(&self, name: &'static str, found: Result<(), String>) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let before = seen.insert(name, found.clone());
        match (before, found) {
            (Some(Err(_)), Ok(())) => tracing::info!("{name} answers again"),
            (None | Some(Ok(())), Err(error)) => tracing::warn!("{name} is down: {error}"),
            _ => {}
        }
    }

    /// The report for `/readyz`.
    pub fn current_readiness(&self, vectors: &EmbedderManager, chat: &str) -> ReadinessReport {
        let mut dependencies: BTreeMap<String, String> = ["catalogue", "index"]
            .map(|name| (name.to_owned(), OK.to_owned()))
            .into();
        let state = vectors.state();
        // A process that does not fit the shared stores must get no questions; one with local stores answers by words.
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
        // A full disk does not make the process unready: questions are answered and documents deleted all the same.
        if let Some(reserve) = &self.reserve {
            dependencies.insert("disk".to_owned(), describe_disk(reserve));
        }
        dependencies.insert("embedder".to_owned(), vectors.describe());
        dependencies.insert("chat".to_owned(), chat.to_owned());
        ReadinessReport { ready, dependencies }
    }
}
