//! The embedding cache: an unchanged text is embedded only once.
//!
//! Invariant: the cache may be lost at any time, which costs only new embeddings. It returns bit for bit what was
//! stored, so a version made with its help equals one made without it.

use async_trait::async_trait;

use crate::id::{DocumentId, TenantId};
use crate::rank::analyzer::LEXICAL_NAME;

/// Part of every key that stands for everything, apart from the embedder, that determines a [`StoredEmbedding`]. Change
/// it when the stored content or its encoding changes.
const CONTEXT: &str = "ragstone embedding cache: distinct pieces, token bits 1";

/// Key of a text that was embedded for a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmbeddingKey(pub [u8; 32]);

impl EmbeddingKey {
    /// The key of `text` as the embedder gets it; its first `prefix` bytes are not part of the chunk, which shifts the
    /// spans of its tokens. Keys contain the tenant, so that no tenant can learn from response times which texts
    /// another one has.
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

/// The parts of an embedding that ingestion stores.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEmbedding {
    /// Vector of unit length.
    pub vector: Vec<f32>,
    /// Distinct wordpieces of the text, for the term statistics (`rank::late::distinct_pieces`).
    pub pieces: Vec<u32>,
    /// Token vectors in `rank::token_bits` form; `None` if the model gives none.
    pub tokens: Option<Vec<u8>>,
}

/// Error of the cache. It is never fatal: the caller embeds the text instead.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the embedding cache is unavailable: {detail}")]
pub struct EmbeddingCacheError {
    /// Cause of the failure.
    pub detail: String,
}

/// Stores embeddings by fingerprint and key.
#[async_trait]
pub trait EmbeddingCache: Send + Sync {
    /// The embeddings stored under `keys` for the embedder with this fingerprint, in order. `document` is recorded as a
    /// user of those found.
    async fn get_embeddings(
        &self,
        fingerprint: &str,
        document: DocumentId,
        keys: &[EmbeddingKey],
    ) -> Result<Vec<Option<StoredEmbedding>>, EmbeddingCacheError>;

    /// Stores embeddings that `document` uses. An existing entry is kept. If the cache is full, the least recently used
    /// entries are removed.
    async fn put_embeddings(
        &self,
        fingerprint: &str,
        document: DocumentId,
        entries: Vec<(EmbeddingKey, StoredEmbedding)>,
    ) -> Result<(), EmbeddingCacheError>;

    /// Removes every entry that `document` ever used; other documents that shared one embed it again.
    async fn remove_document(&self, document: DocumentId) -> Result<(), EmbeddingCacheError>;

    /// Every document that uses an entry, in order; `fsck` compares them with the catalogue.
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
