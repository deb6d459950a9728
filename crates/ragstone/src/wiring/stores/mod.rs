//! The stores, all local or all shared, behind the seams that the rest of the process sees.

mod claim;
mod local;
mod shared;

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use object_store::ObjectStore;
use ragstone_adapters::data_dir::DataDirectory;
use ragstone_adapters::disk_reserve::DiskReserve;
use ragstone_core::seam::{
    Catalogue, EmbeddingCache, EvaluationStore, ExportStore, FeedbackStore, IdempotencyStore, KeyStore, Notifier,
    PointReader, SourceStore, UsageStore, VectorIndex,
};

use super::disk::ShortenLog;
use super::migration::DualIndex;
use crate::config::Settings;
pub use claim::{claim_library, try_claim_library};
#[cfg(test)]
pub use local::open_dual_index;
pub use local::{copy_label, open_database, open_folder, open_local_stores as open_local, open_side};
pub use shared::{
    ProcessRole, SHARED_STORE_NAMES, open_catalogue, open_shared_stores as open_shared, probe_shared_stores,
};

/// Whether any API key was ever created. Reads without changing anything and without a lock.
pub async fn has_keys(settings: &Settings) -> anyhow::Result<bool> {
    match settings.shared_stores() {
        Some(set) => shared::has_keys(settings, &set).await,
        None => local::has_keys(&settings.data.directory).await,
    }
}

/// Purpose of opening the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenPurpose {
    /// Normal use; refused if they do not belong together.
    Use,
    /// Recovery of the catalogue from the blobs.
    Recovery,
}

/// Every store behind its seam.
pub struct StoreSet {
    /// Source of truth for documents and jobs.
    pub catalogue: Arc<dyn Catalogue>,
    /// API keys of callers.
    pub keys: Arc<dyn KeyStore>,
    /// Usage of callers and tenants: requests and tokens.
    pub usage: Arc<dyn UsageStore>,
    /// Recorded answers to uploads with an idempotency key.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// Runs of evaluations with their outcomes.
    pub evaluations: Arc<dyn EvaluationStore>,
    /// Kept answers and callers' ratings.
    pub feedback: Arc<dyn FeedbackStore>,
    /// Document sources and their sync state.
    pub sources: Arc<dyn SourceStore>,
    /// Reads published versions for export, and stores imported ones.
    pub export_store: Arc<dyn ExportStore>,
    /// Reads whole points of the index.
    pub points: Arc<dyn PointReader>,
    /// The index for search and ingestion.
    pub index: Arc<dyn VectorIndex>,
    /// The same index with its two sides, if its model can be changed while it answers.
    pub dual_index: Option<Arc<DualIndex>>,
    /// Originals, extracted texts and manifests.
    pub blobs: Arc<dyn ObjectStore>,
    /// Id of the library that the stores belong to.
    pub library: String,
    /// Embedding cache on this machine, if there is one.
    pub embeddings: Option<Arc<dyn EmbeddingCache>>,
    /// Notifies the workers of queued jobs.
    pub notifier: Arc<dyn Notifier>,
    /// What this process alone owns on the machine.
    pub location: StoreLocation,
    /// What was migrated from an older release, in words; `None` if nothing was.
    pub upgraded: Option<String>,
    /// Reserve on the data directory's disk; `None` if stores are shared.
    pub reserve: Option<DiskReserve>,
    /// Truncates the database's log to free its disk space; does nothing for shared stores.
    pub shorten_log: ShortenLog,
    /// Probes of the stores; empty for local ones.
    pub probes: Vec<StoreProbe>,
}

/// What this process alone owns on the machine.
pub enum StoreLocation {
    /// A data directory with all stores in it.
    Local(DataDirectory),
    /// Shared stores; nothing here must last.
    Shared {
        /// Holds what may be lost, if the process needs it and got one; kept for its lock.
        _directory: Option<DataDirectory>,
        /// Folder of the blobs, if they are in one.
        blobs: Option<PathBuf>,
    },
}

impl StoreLocation {
    /// Whether other processes use the same stores.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }

    /// The data directory, if all stores are in it.
    pub fn local_directory(&self) -> Option<&DataDirectory> {
        match self {
            Self::Local(directory) => Some(directory),
            Self::Shared { .. } => None,
        }
    }

    /// Folder of the blobs, if they are in one.
    pub fn blob_folder(&self) -> Option<PathBuf> {
        match self {
            Self::Local(directory) => Some(directory.blobs_path()),
            Self::Shared { blobs, .. } => blobs.clone(),
        }
    }
}

/// Probe of whether a store answers.
pub struct StoreProbe {
    /// Name of the store in `/readyz`.
    pub name: &'static str,
    /// Whether no question can be answered without it.
    pub needed: bool,
    /// Sends a request to the store; the error is a text without secrets.
    pub ask: Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}
