//! Embedding each text once: what the cache has is taken from it, what it lacks is made and kept at once.
//!
//! Invariant: an error of the cache is a miss that is counted, and never a job that fails; only a purge waits for it,
//! because nothing of a deleted document may stay.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::IngestContext;
use super::trouble::{RetryPolicy, StepError};
use crate::id::{DocumentId, TenantId};
use crate::rank::late::{distinct_pieces, keep_piece};
use crate::rank::token_bits::TokenBits;
use crate::seam::embedder::{EmbeddedTokens, Embedder, Embedding, PassageEmbedding};
use crate::seam::embedding_cache::{EmbeddingCacheError, EmbeddingKey, StoredEmbedding};

/// What is stored of a chunk's embedding.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ChunkEmbedding {
    /// It stands for the whole chunk.
    Whole(StoredEmbedding),
    /// It stands for the chunk's beginning.
    Beginning(StoredEmbedding),
    /// There is none, and why.
    None(String),
}

impl ChunkEmbedding {
    /// The embedding, if there is one.
    pub fn into_stored(self) -> Option<StoredEmbedding> {
        match self {
            Self::Whole(embedding) | Self::Beginning(embedding) => Some(embedding),
            Self::None(_) => None,
        }
    }
}

/// What the embedding cache was good for since the process began.
#[derive(Debug, Default)]
pub struct EmbeddingCacheStats {
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
}

impl EmbeddingCacheStats {
    /// Chunks whose embedding was held.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Chunks that were embedded.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// Calls of the cache that failed.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    fn record_lookups(&self, found: &[Option<StoredEmbedding>]) {
        let hits = found.iter().flatten().count() as u64;
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(found.len() as u64 - hits, Ordering::Relaxed);
    }

    fn record_error(&self, error: &EmbeddingCacheError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, "texts are embedded without it");
    }
}

/// Embeds through the cache.
pub(super) struct CachedEmbedder {
    context: Arc<IngestContext>,
    stats: EmbeddingCacheStats,
}

impl CachedEmbedder {
    pub(super) fn new(context: &Arc<IngestContext>) -> Self {
        Self {
            context: context.clone(),
            stats: EmbeddingCacheStats::default(),
        }
    }

    /// What the embedding cache was good for.
    pub(super) fn embedding_cache_stats(&self) -> &EmbeddingCacheStats {
        &self.stats
    }

    /// What is kept of the embeddings of a document's `texts`, each with `prefix` before it, in order. One call embeds all
    /// that the cache lacks, and it is held before anything is done with it. Only what stands for a whole text is held:
    /// of the others it must be told each time.
    pub(super) async fn embed_with_cache(
        &self,
        embedder: &dyn Embedder,
        (tenant, document): (&TenantId, DocumentId),
        prefix: &str,
        texts: &[&str],
    ) -> Result<Vec<ChunkEmbedding>, StepError> {
        let texts: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
        let key = |text: &String| EmbeddingKey::for_text(tenant, prefix.len(), text);
        let keys: Vec<EmbeddingKey> = texts.iter().map(key).collect();
        let found = self.read_cached_embeddings(embedder, document, &keys).await;
        let lacking = |item: &(String, &Option<StoredEmbedding>)| item.1.is_none();
        let missing: Vec<String> = texts
            .into_iter()
            .zip(&found)
            .filter(lacking)
            .map(|(text, _)| text)
            .collect();
        let made = embed_missing(embedder, prefix, &missing).await?;
        let keys = keys.into_iter().zip(&found).filter(|(_, found)| found.is_none());
        let fresh = keys.map(|(key, _)| key).zip(&made);
        let whole = fresh.filter_map(|(key, made)| match made {
            ChunkEmbedding::Whole(embedding) => Some((key, embedding.clone())),
            ChunkEmbedding::Beginning(_) | ChunkEmbedding::None(_) => None,
        });
        self.cache_embeddings(embedder, document, whole.collect()).await;
        let mut made = made.into_iter();
        Ok(found
            .into_iter()
            .filter_map(|found| found.map(ChunkEmbedding::Whole).or_else(|| made.next()))
            .collect())
    }

    /// What the cache has; a vector of another length than the embedder's is not the embedder's.
    async fn read_cached_embeddings(
        &self,
        embedder: &dyn Embedder,
        document: DocumentId,
        keys: &[EmbeddingKey],
    ) -> Vec<Option<StoredEmbedding>> {
        let Some(cache) = &self.context.stores.embeddings else {
            return vec![None; keys.len()];
        };
        let fingerprint = embedder.fingerprint();
        let fits = |stored: &StoredEmbedding| stored.vector.len() == fingerprint.dimensions;
        let found = match cache.get_embeddings(&fingerprint.digest(), document, keys).await {
            Ok(found) => found.into_iter().map(|stored| stored.filter(fits)).collect(),
            Err(error) => {
                self.stats.record_error(&error);
                vec![None; keys.len()]
            }
        };
        self.stats.record_lookups(&found);
        found
    }

    async fn cache_embeddings(
        &self,
        embedder: &dyn Embedder,
        document: DocumentId,
        entries: Vec<(EmbeddingKey, StoredEmbedding)>,
    ) {
        let Some(cache) = self.context.stores.embeddings.as_ref().filter(|_| !entries.is_empty()) else {
            return;
        };
        let fingerprint = embedder.fingerprint().digest();
        if let Err(error) = cache.put_embeddings(&fingerprint, document, entries).await {
            self.stats.record_error(&error);
        }
    }

    /// Removes the embeddings of everything that a deleted document ever held.
    pub(super) async fn forget_embeddings(&self, document: DocumentId) -> Result<(), StepError> {
        match &self.context.stores.embeddings {
            Some(cache) => Ok(cache.remove_document(document).await?),
            None => Ok(()),
        }
    }

    /// A worker may have put embeddings after the purge of its document; whoever finds its lease stale looks.
    pub(super) async fn forget_if_deleted(&self, document: DocumentId) {
        let stands = self.context.stores.catalogue.documents_unchecked(&[document]).await;
        if stands.is_ok_and(|standing| standing.is_empty())
            && let Err(trouble) = self.forget_embeddings(document).await
        {
            tracing::warn!(%document, error = %trouble.error.detail, "embeddings of a deleted document are left");
        }
    }
}

impl From<EmbeddingCacheError> for StepError {
    fn from(error: EmbeddingCacheError) -> Self {
        let hint = "check the disk of the data directory; cache.db may be deleted at any time";
        Self::new(
            "embedding_cache_failed",
            error,
            hint,
            RetryPolicy::Uncounted { after: None },
        )
    }
}

async fn embed_missing(
    embedder: &dyn Embedder,
    prefix: &str,
    texts: &[String],
) -> Result<Vec<ChunkEmbedding>, StepError> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let embeddings = embedder.embed_passages(texts).await?;
    if embeddings.len() != texts.len() {
        let detail = format!("{} embeddings for {} texts", embeddings.len(), texts.len());
        return Err(StepError::new(
            "embedding_failed",
            detail,
            "it is tried again by itself",
            RetryPolicy::Counted,
        ));
    }
    let prefix = prefix.len() as u32;
    let kept = |embedding| match embedding {
        PassageEmbedding::Full(embedding) => ChunkEmbedding::Whole(to_stored_embedding(embedding, prefix)),
        PassageEmbedding::Truncated(embedding) => ChunkEmbedding::Beginning(to_stored_embedding(embedding, prefix)),
        PassageEmbedding::None(why) => ChunkEmbedding::None(why),
    };
    Ok(embeddings.into_iter().map(kept).collect())
}

/// What is kept of an embedding.
fn to_stored_embedding(embedding: Embedding, prefix: u32) -> StoredEmbedding {
    let tokens = embedding.tokens.as_ref();
    StoredEmbedding {
        pieces: tokens.map_or_else(Vec::new, |tokens| distinct_pieces(&tokens.ids)),
        tokens: tokens.map(|tokens| token_bits(tokens, prefix)),
        vector: embedding.vector,
    }
}

/// The stored form of a chunk's tokens. Those of the prefix get an empty span: they count for the chunk and for no
/// sentence of it.
fn token_bits(tokens: &EmbeddedTokens, prefix: u32) -> Vec<u8> {
    let shift = |at: u32| at.saturating_sub(prefix);
    let spans: Vec<Range<u32>> = tokens
        .spans
        .iter()
        .map(|span| shift(span.start)..shift(span.end))
        .collect();
    TokenBits::new(&tokens.vectors, &spans, |n| keep_piece(&tokens.pieces[n])).to_bytes()
}

#[cfg(test)]
mod tests;
