//! Export and import of a whole library: from one set of stores to a file, and from the file into another set.
//!
//! Invariant: neither keys nor secrets are exported, and an import overwrites nothing; a document is transferred with
//! its text, vectors and readers, or not at all.

mod export;
mod import;
mod questions;
mod routes;

use std::sync::Arc;

use anyhow::Context;
use object_store::ObjectStore;
use ragstone_core::access::Principal;
use ragstone_core::id::TenantId;
use ragstone_core::library::Library;
use ragstone_core::seam::index::IndexSpec;
use ragstone_core::seam::source::SourceRecord;
use ragstone_core::seam::{ExportStore, PointReader, SourceStore};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc::Sender;

pub use routes::transfer_router;

use super::vectors::EmbedderManager;

/// Rows that are read at once.
const PAGE: usize = 500;

/// What an export or import works with.
pub struct LibraryTransfer {
    /// Documents in the catalogue.
    pub export_store: Arc<dyn ExportStore>,
    /// Points in the index.
    pub points: Arc<dyn PointReader>,
    /// Originals and extracted texts.
    pub blobs: Arc<dyn ObjectStore>,
    /// The library's document sources.
    pub sources: Arc<dyn SourceStore>,
    /// Answers the verification questions.
    pub library: Arc<Library>,
    /// The embedder, and with it catalogue, index and ingestor.
    pub vectors: Arc<EmbedderManager>,
    /// Returns the local operator of a tenant.
    pub operator: fn(TenantId) -> Principal,
}

/// Progress of a stage.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TransferProgress {
    /// Stage: `documents`, `comparing` or `questions`.
    stage: &'static str,
    /// Units done so far.
    done: u64,
    /// Units of the stage in total.
    total: u64,
}

/// An event during a transfer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferEvent {
    /// Progress of the current stage.
    Progress(TransferProgress),
    /// A document that is not transferred, and why.
    LeftOut {
        /// URI of the document, or its id.
        document: String,
        /// Why it is left out, as text for people.
        why: String,
    },
}

/// Receives the events of a transfer.
#[derive(Clone)]
pub struct TransferListener(pub Sender<TransferEvent>);

impl TransferListener {
    fn report_progress(&self, stage: &'static str, done: u64, total: u64) {
        // If the channel is full, the listener learns it from the next event.
        let _ = self
            .0
            .try_send(TransferEvent::Progress(TransferProgress { stage, done, total }));
    }

    async fn report_left_out(&self, document: &str, why: impl ToString + Send) {
        let (document, why) = (document.to_owned(), why.to_string());
        // Fails only if nobody listens any more; then the work is dropped soon.
        let _ = self.0.send(TransferEvent::LeftOut { document, why }).await;
    }
}

impl LibraryTransfer {
    /// The spec of the stored points: the active one, or the lexical one for a library that was started without vectors
    /// and has no spec.
    async fn stored_spec(&self) -> anyhow::Result<Option<IndexSpec>> {
        let vectors = &self.vectors;
        match vectors.active_spec().await? {
            Some(active) => Ok(Some(active)),
            None if vectors.index.count_points().await? == 0 => Ok(None),
            None => Ok(Some(vectors.recipe.build_pipeline(None).index_spec())),
        }
    }

    /// The sources of all tenants.
    async fn all_sources(&self) -> anyhow::Result<Vec<SourceRecord>> {
        let (mut sources, mut cursor) = (Vec::new(), None);
        loop {
            let request = ragstone_core::seam::catalogue::PageRequest { cursor, limit: PAGE };
            let page = self.sources.list_sources(None, &request).await?;
            sources.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(sources),
            }
        }
    }

    /// Settings that belong to documents: each tenant's threshold. Other settings belong to the installation.
    async fn collect_settings(&self, tenants: &[TenantId]) -> anyhow::Result<Map<String, Value>> {
        let mut settings = Map::new();
        for tenant in tenants {
            let key = calibration_key(tenant);
            let found = self.vectors.catalogue.get_setting(&key).await.context("the settings")?;
            settings.extend(found.map(|value| (key, Value::String(value))));
        }
        Ok(settings)
    }
}

/// Setting with a tenant's evidence threshold.
fn calibration_key(tenant: &TenantId) -> String {
    format!("calibration:{tenant}")
}

/// Runs blocking work on a blocking thread.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
