//! The stores, all local or all shared: what the rest of the process sees of them.

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

/// Whether any API key was ever made; looks without changing anything, and without a lock.
pub async fn has_keys(settings: &Settings) -> anyhow::Result<bool> {
    match settings.shared_stores() {
        Some(set) => shared::has_keys(settings, &set).await,
        None => local::has_keys(&settings.data.directory).await,
    }
}

/// How stores are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenPurpose {
    /// To use them, if they belong together.
    Use,
    /// To make the catalogue again.
    Recovery,
}

/// Every store behind its seam.
pub struct StoreSet {
    /// The truth about documents and jobs.
    pub catalogue: Arc<dyn Catalogue>,
    /// The keys of callers.
    pub keys: Arc<dyn KeyStore>,
    /// What callers spent.
    pub usage: Arc<dyn UsageStore>,
    /// What uploads with a key were answered.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// Evaluation runs.
    pub evaluations: Arc<dyn EvaluationStore>,
    /// What callers said of answers.
    pub feedback: Arc<dyn FeedbackStore>,
    /// Where documents come from.
    pub sources: Arc<dyn SourceStore>,
    /// Published versions on their way to another library.
    pub export_store: Arc<dyn ExportStore>,
    /// Points on theirs.
    pub points: Arc<dyn PointReader>,
    /// The points.
    pub index: Arc<dyn VectorIndex>,
    /// The same, where the model may be changed while it answers.
    pub dual_index: Option<Arc<DualIndex>>,
    /// Originals and texts.
    pub blobs: Arc<dyn ObjectStore>,
    /// The id of the library whose stores they are.
    pub library: String,
    /// What was embedded before, on this machine.
    pub embeddings: Option<Arc<dyn EmbeddingCache>>,
    /// Wakes workers.
    pub notifier: Arc<dyn Notifier>,
    /// What of the machine is this process's own.
    pub location: StoreLocation,
    /// What was changed because an older release had left it, in words.
    pub upgraded: Option<String>,
    /// Keeps room on the disk of the data directory, where all stores are in it.
    pub reserve: Option<DiskReserve>,
    /// Gives the room of the database's log back to the disk; does nothing where no database is on it.
    pub shorten_log: ShortenLog,
    /// How it is found out whether they answer; empty where they are in this process.
    pub probes: Vec<StoreProbe>,
}

/// What of the machine is this process's own.
pub enum StoreLocation {
    /// A data directory with all stores in it.
    Local(DataDirectory),
    /// The stores are shared.
    Shared {
        /// Holds what may be lost, where the process needs it and got one: held for its lock.
        _directory: Option<DataDirectory>,
        /// The folder of the blobs, where they are in one.
        blobs: Option<PathBuf>,
    },
}

impl StoreLocation {
    /// Whether other processes work on the same stores.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }

    /// The data directory, if all is in it.
    pub fn local_directory(&self) -> Option<&DataDirectory> {
        match self {
            Self::Local(directory) => Some(directory),
            Self::Shared { .. } => None,
        }
    }

    /// The folder of the blobs, where they are in one.
    pub fn blob_folder(&self) -> Option<PathBuf> {
        match self {
            Self::Local(directory) => Some(directory.blobs_path()),
            Self::Shared { blobs, .. } => blobs.clone(),
        }
    }
}

/// How it is found out whether a store answers.
pub struct StoreProbe {
    /// What it is called in `/readyz`.
    pub name: &'static str,
    /// Whether nothing can be answered without it.
    pub needed: bool,
    /// Asks; an error is in words, without a secret.
    pub ask: Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}
