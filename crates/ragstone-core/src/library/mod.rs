//! The only access to stored text: a scope goes in, admitted passages come out.
//!
//! Invariant: every hit is checked against the catalogue (published generation, tombstone, ACL) before its text is
//! read, and only this module makes `ScopedQuery` and `Admitted`.

mod abstain;
mod admission;
pub(crate) mod blob;
mod evidence;
pub mod layout;
pub mod mark;
mod passage;
mod question;
mod read;
mod reader;
mod search;
pub mod text;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use object_store::ObjectStore;

pub(crate) use question::spelling_statistics;

pub use abstain::CalibrationReport;
pub use passage::{Passage, PassageRanks, PassageSentence};
pub use search::{ConfidenceScores, Notice, SearchRequest, SearchResult};

use crate::id::TenantId;
use crate::seam::{Catalogue, CatalogueError, EmbedError, Embedder, IndexError, VectorIndex};

/// Most passages of a search or an answer.
pub const MAX_PASSAGES: usize = 100;
/// Most repeats of a search because stale hits displaced good ones.
pub const MAX_STALE_REPEATS: usize = 2;
/// Longest question, in bytes.
pub const MAX_QUESTION_BYTES: usize = 32 * 1024;

/// Why a search or a read failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LibraryError {
    /// The question is invalid, with the reason.
    #[error("{0}")]
    BadQuestion(String),
    /// A call to the catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A call to the index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The embedder failed, and the search was to use vectors only.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The blob store failed or what it holds is damaged.
    #[error("{0}")]
    Text(String),
}

impl From<text::TextError> for LibraryError {
    fn from(error: text::TextError) -> Self {
        Self::Text(error.to_string())
    }
}

impl From<object_store::Error> for LibraryError {
    fn from(error: object_store::Error) -> Self {
        Self::Text(format!("the blob store failed: {error}"))
    }
}

/// Counters of hits that an index should not have returned; the leaks must stay 0.
#[derive(Debug, Default)]
pub struct AccessAlarms {
    leaks: AtomicU64,
    stale: AtomicU64,
}

impl AccessAlarms {
    /// Hits that an index returned although the ACL that it has refuses the caller, and chunks of other documents than
    /// the requested one.
    pub fn leaked_hits(&self) -> u64 {
        self.leaks.load(Ordering::Relaxed)
    }

    /// Counts hits that the caller may not see, and logs an error if there are any.
    fn record_leaks(&self, leaks: usize) {
        if leaks > 0 {
            self.leaks.fetch_add(leaks as u64, Ordering::Relaxed);
            tracing::error!(
                leaks,
                "the index returned what its caller may not read; it was not shown"
            );
        }
    }

    /// Hits of replaced or deleted generations, or with an older ACL: a few are normal.
    pub fn stale_hits(&self) -> u64 {
        self.stale.load(Ordering::Relaxed)
    }
}

/// An embedder with the index of its vectors: a question takes both at once, so its vector is never compared with those
/// of another model.
#[derive(Clone)]
pub struct ActiveEmbedder {
    /// The embedder for questions.
    pub embedder: Arc<dyn Embedder>,
    /// The index with the vectors of the same embedder.
    pub index: Arc<dyn VectorIndex>,
}

/// The active embedder, if any: it may arrive while the process runs, and another one may replace it.
pub type EmbedderSlot = Arc<RwLock<Option<ActiveEmbedder>>>;

/// Searches and reads the stored text, within a scope.
pub struct Library {
    catalogue: Arc<dyn Catalogue>,
    index: Arc<dyn VectorIndex>,
    blobs: Arc<dyn ObjectStore>,
    embedder: EmbedderSlot,
    alarms: Arc<AccessAlarms>,
    thresholds: RwLock<HashMap<TenantId, abstain::ThresholdCalibration>>,
}

impl Library {
    /// A library over these stores. `embedder` is shared with the code that fills the slot.
    pub fn new(
        catalogue: Arc<dyn Catalogue>,
        index: Arc<dyn VectorIndex>,
        blobs: Arc<dyn ObjectStore>,
        embedder: EmbedderSlot,
    ) -> Self {
        Self {
            catalogue,
            index,
            blobs,
            embedder,
            alarms: Arc::default(),
            thresholds: RwLock::default(),
        }
    }

    /// Counters of leaked and stale hits.
    pub fn access_alarms(&self) -> &AccessAlarms {
        &self.alarms
    }

    fn active_embedder(&self) -> Option<ActiveEmbedder> {
        self.embedder
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod counts;
#[cfg(test)]
mod tests;
