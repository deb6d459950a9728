//! Moving house: the whole library into one file, and out of it into another set of stores.
//!
//! Invariant: neither keys nor secrets move, and nothing that a library has is overwritten; a document moves whole, with
//! its readers, or not at all.

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

/// Rows read at once.
const PAGE: usize = 500;

/// What the library is moved by.
pub struct LibraryTransfer {
    /// Documents in the catalogue.
    pub export_store: Arc<dyn ExportStore>,
    /// Points in the index.
    pub points: Arc<dyn PointReader>,
    /// Originals and texts.
    pub blobs: Arc<dyn ObjectStore>,
    /// Where documents come from.
    pub sources: Arc<dyn SourceStore>,
    /// Answers the questions that are compared.
    pub library: Arc<Library>,
    /// Everything about the vectors, with catalogue, index and ingestor.
    pub vectors: Arc<EmbedderManager>,
    /// Names the local operator of a tenant.
    pub operator: fn(TenantId) -> Principal,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TransferProgress {
    /// What is being done: `documents`, `comparing` or `questions`.
    stage: &'static str,
    /// Units done.
    done: u64,
    /// Units in all.
    total: u64,
}

/// Something to tell while it goes on.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferEvent {
    /// How far it is.
    Progress(TransferProgress),
    /// A document that does not move, and why.
    LeftOut {
        /// Its URI, or its id.
        document: String,
        /// Why.
        why: String,
    },
}

/// Takes what is told.
#[derive(Clone)]
pub struct TransferListener(pub Sender<TransferEvent>);

impl TransferListener {
    fn report_progress(&self, stage: &'static str, done: u64, total: u64) {
        // Who is behind learns it from the next one.
        let _ = self
            .0
            .try_send(TransferEvent::Progress(TransferProgress { stage, done, total }));
    }

    async fn report_left_out(&self, document: &str, why: impl ToString + Send) {
        let (document, why) = (document.to_owned(), why.to_string());
        // Nobody listens any more: the work is dropped soon.
        let _ = self.0.send(TransferEvent::LeftOut { document, why }).await;
    }
}

impl LibraryTransfer {
    /// The spec of what the index holds: the active one; of a library that was begun without vectors and never noted it,
    /// the lexical one.
    async fn stored_spec(&self) -> anyhow::Result<Option<IndexSpec>> {
        let vectors = &self.vectors;
        match vectors.active_spec().await? {
            Some(active) => Ok(Some(active)),
            None if vectors.index.count_points().await? == 0 => Ok(None),
            None => Ok(Some(vectors.recipe.build_pipeline(None).index_spec())),
        }
    }

    /// Every tenant's sources.
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

    /// The small values that belong to the documents: what was found about each tenant's. Others are the installation's.
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

/// Where a tenant's threshold stands.
fn calibration_key(tenant: &TenantId) -> String {
    format!("calibration:{tenant}")
}

/// Blocking work beside the runtime.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
