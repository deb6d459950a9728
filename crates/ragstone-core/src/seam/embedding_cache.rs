//! What was embedded before, so that a text is embedded once.
//!
//! Invariant: the cache is a copy; it may be lost at any time, and costs embeddings then. What it gives is bit for bit
//! what was put, so a version made with its help is the version that would have been made without it.

use async_trait::async_trait;

use crate::id::{DocumentId, TenantId};
use crate::rank::analyzer::LEXICAL_NAME;

/// What a key stands for: everything beside the embedder that decides a [`StoredEmbedding`]. Another rule of what is
/// kept of an embedding, or how, gets another name.
const CONTEXT: &str = "ragstone embedding cache: distinct pieces, token bits 1";

/// Names a text that was embedded for a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmbeddingKey(pub [u8; 32]);

impl EmbeddingKey {
    /// The key of `text` as the embedder gets it; its first `prefix` bytes are not the chunk's, which shifts the spans of
    /// its tokens. Tenants share nothing, so that none can tell by the time it takes what another one has.
    pub fn for_text(tenant: &TenantId, prefix: usize, text: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        for part in [LEXICAL_NAME, tenant.as_str()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&(prefix as u64).to_le_bytes());
        hasher.update(text.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

/// What ingestion keeps of an embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEmbedding {
    /// Unit length.
    pub vector: Vec<f32>,
    /// The wordpieces of the text, each once, for the statistics (`rank::late::distinct_pieces`).
    pub pieces: Vec<u32>,
    /// Token vectors in `rank::token_bits` form, where the model gives them.
    pub tokens: Option<Vec<u8>>,
}

/// Why the cache did not do what it was asked. Nobody needs it to: whoever asked embeds.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the embedding cache is unavailable: {detail}")]
pub struct EmbeddingCacheError {
    /// What went wrong.
    pub detail: String,
}

/// What was embedded before.
#[async_trait]
pub trait EmbeddingCache: Send + Sync {
    /// What is held under `keys` for the embedder of this fingerprint, in order. `document` uses what was found from here
    /// on.
    async fn get_embeddings(
        &self,
        fingerprint: &str,
        document: DocumentId,
        keys: &[EmbeddingKey],
    ) -> Result<Vec<Option<StoredEmbedding>>, EmbeddingCacheError>;

    /// Keeps embeddings that `document` uses. Of two under one key the first stays. What was not used for longest goes where
    /// there is no room.
    async fn put_embeddings(
        &self,
        fingerprint: &str,
        document: DocumentId,
        entries: Vec<(EmbeddingKey, StoredEmbedding)>,
    ) -> Result<(), EmbeddingCacheError>;

    /// Removes everything that `document` ever used; others that used the same embed it once more.
    async fn remove_document(&self, document: DocumentId) -> Result<(), EmbeddingCacheError>;

    /// Every document that uses anything, in order: what `fsck` compares with the catalogue.
    async fn list_documents(&self) -> Result<Vec<DocumentId>, EmbeddingCacheError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_all_that_decides_what_is_stored() {
        let (a, b): (TenantId, TenantId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let key = EmbeddingKey::for_text(&a, 0, "title text");
        assert_eq!(key, EmbeddingKey::for_text(&a, 0, "title text"));
        for other in [
            EmbeddingKey::for_text(&b, 0, "title text"),
            EmbeddingKey::for_text(&a, 6, "title text"),
            EmbeddingKey::for_text(&a, 0, "title text "),
            EmbeddingKey::for_text(&a, 0, ""),
        ] {
            assert_ne!(key, other);
        }
    }
}
