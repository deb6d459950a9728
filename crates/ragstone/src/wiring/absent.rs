//! Stands in for an embedder that is not available yet: every request fails with an error that says to retry later.

use async_trait::async_trait;
use ragstone_core::rank::gate::WordStatistics;
use ragstone_core::seam::embedder::{EmbedError, Embedder, EmbedderFingerprint, Embedding, TextKind};

/// An embedder of which only the fingerprint is known; it embeds nothing.
pub struct AbsentEmbedder(pub EmbedderFingerprint);

#[async_trait]
impl Embedder for AbsentEmbedder {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        &self.0
    }

    async fn embed_texts(&self, _: &[String], _: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        Err(EmbedError::Busy {
            detail: format!("{} has not answered since this process started", self.0.model),
            after: None,
        })
    }

    fn word_statistics(&self, _: &str) -> Option<WordStatistics> {
        None
    }
}
