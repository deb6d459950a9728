//! The embedder: turns texts into vectors.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::rank::gate::WordStatistics;
use crate::rank::late::TokenVectors;

/// Everything that determines a text's vector; vectors of different fingerprints are never compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EmbedderFingerprint {
    /// Name of the model.
    pub model: String,
    /// Pinned revision or hash of the weights; empty if a service does not report it.
    pub revision: String,
    /// Length of a vector.
    pub dimensions: usize,
    /// How token states are pooled into one vector, such as `mean`; empty if a service does not report it.
    pub pooling: String,
    /// Prefix of every query.
    pub query_prefix: String,
    /// Prefix of every passage.
    pub passage_prefix: String,
}

impl EmbedderFingerprint {
    /// A short stable name of the fingerprint, part of the pipeline's fingerprint.
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).expect("a struct of strings and a number serialises");
        blake3::hash(&json).to_hex()[..16].to_owned()
    }
}

/// Role of a text; some models expect a prefix for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// A question. Queries are embedded in a queue of their own, ahead of passages.
    Query,
    /// A chunk to be stored.
    Passage,
}

/// Vector of a text, and vectors of its tokens where the model gives them.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Unit length, with as many components as the fingerprint's `dimensions`.
    pub vector: Vec<f32>,
    /// Last hidden states of the tokens; `None` if the model does not give them.
    pub tokens: Option<EmbeddedTokens>,
}

/// Result of embedding one passage.
#[derive(Debug, Clone, PartialEq)]
pub enum PassageEmbedding {
    /// Embedding of the whole text.
    Full(Embedding),
    /// Embedding of the beginning of the text: the model's input limit is shorter.
    Truncated(Embedding),
    /// No embedding, with the reason: the model fails on this text but embeds others.
    None(String),
}

/// Last hidden states of a text's wordpieces in text order, without special tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedTokens {
    /// Ids of the wordpieces.
    pub ids: Vec<u32>,
    /// The wordpieces as the vocabulary spells them.
    pub pieces: Vec<String>,
    /// Byte ranges in the embedded text, without its prefix.
    pub spans: Vec<Range<u32>>,
    /// Token vectors, each of unit length.
    pub vectors: TokenVectors,
}

/// Error of an embedder.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EmbedError {
    /// Overloaded: retry, not before `after` if given.
    #[error("the embedder is busy: {detail}")]
    Busy {
        /// Message of the service.
        detail: String,
        /// `Retry-After`, if the service sent it.
        after: Option<Duration>,
    },
    /// The same texts would be refused again.
    #[error("the embedder refused: {detail}")]
    Refused {
        /// Message of the service.
        detail: String,
    },
    /// A failure that may pass.
    #[error("the embedder failed: {detail}")]
    Broken {
        /// Cause of the failure.
        detail: String,
    },
}

/// Turns texts into vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// The fingerprint of this embedder.
    fn fingerprint(&self) -> &EmbedderFingerprint;

    /// Embeds `texts`, in order. Transient errors are retried before one is returned.
    async fn embed_texts(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError>;

    /// Embeds passages, in order. A text that cannot be embedded does not affect the others: it gets
    /// [`PassageEmbedding::None`]. An error means that the embedder itself fails.
    async fn embed_passages(&self, texts: &[String]) -> Result<Vec<PassageEmbedding>, EmbedError> {
        let embeddings = self.embed_texts(texts, TextKind::Passage).await?;
        Ok(embeddings.into_iter().map(PassageEmbedding::Full).collect())
    }

    /// Whether the model reads all of a chunk, as far as that is known without calling it. The answer never changes.
    fn fits_input_limit(&self, _text: &str) -> bool {
        true
    }

    /// How well the model can read `text`; `None` if it cannot tell, which counts as fully.
    fn word_statistics(&self, text: &str) -> Option<WordStatistics>;
}
