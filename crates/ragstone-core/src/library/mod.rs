//! The only road to stored text: a scope goes in, admitted passages come out.
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
/// How often a search is repeated because stale hits took the place of good ones.
pub const MAX_STALE_REPEATS: usize = 2;
/// Longest question, in bytes.
pub const MAX_QUESTION_BYTES: usize = 32 * 1024;

/// Why the library gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LibraryError {
    /// The question cannot be asked like this.
    #[error("{0}")]
    BadQuestion(String),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The embedder failed, and the search was asked to be dense alone.
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

/// What was found that should not have been; the first must stay 0.
#[derive(Debug, Default)]
pub struct AccessAlarms {
    leaks: AtomicU64,
    stale: AtomicU64,
}

impl AccessAlarms {
    /// Hits that an index returned although the ACL it knew refuses the caller, and chunks of other documents than the
    /// one asked for.
    pub fn leaked_hits(&self) -> u64 {
        self.leaks.load(Ordering::Relaxed)
    }

    /// Counts what an index returned of documents that were not the caller's to see, and raises the alarm.
    fn record_leaks(&self, leaks: usize) {
        if leaks > 0 {
            self.leaks.fetch_add(leaks as u64, Ordering::Relaxed);
            tracing::error!(
                leaks,
                "the index returned what its caller may not read; it was not shown"
            );
        }
    }

    /// Hits of replaced or deleted generations, or of an older ACL: expected now and then.
    pub fn stale_hits(&self) -> u64 {
        self.stale.load(Ordering::Relaxed)
    }
}

/// An embedder with the index that holds its vectors: a question takes both at once, so it never meets another model's.
#[derive(Clone)]
pub struct ActiveEmbedder {
    /// Embeds questions.
    pub embedder: Arc<dyn Embedder>,
    /// Holds the passages' vectors by the same embedder.
    pub index: Arc<dyn VectorIndex>,
}

/// The embedder that is in use, if any: it may arrive while the process runs, and another one may take its place.
pub type EmbedderSlot = Arc<RwLock<Option<ActiveEmbedder>>>;

/// The road to stored text.
pub struct Library {
    catalogue: Arc<dyn Catalogue>,
    index: Arc<dyn VectorIndex>,
    blobs: Arc<dyn ObjectStore>,
    embedder: EmbedderSlot,
    alarms: Arc<AccessAlarms>,
    thresholds: RwLock<HashMap<TenantId, abstain::ThresholdCalibration>>,
}

impl Library {
    /// A library over these stores. `embedder` is shared with whoever fills the slot.
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

    /// What was found that should not have been.
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
