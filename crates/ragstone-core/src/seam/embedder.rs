//! Text to vectors.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::rank::gate::WordStatistics;
use crate::rank::late::TokenVectors;

/// Everything that decides which vector a text gets; vectors of two fingerprints are never compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EmbedderFingerprint {
    /// The model's name.
    pub model: String,
    /// A pinned revision or hash of the weights; empty where a service does not tell.
    pub revision: String,
    /// Length of a vector.
    pub dimensions: usize,
    /// How token states become one vector, such as `mean`; empty where a service does not tell.
    pub pooling: String,
    /// What is put before a question.
    pub query_prefix: String,
    /// What is put before a passage.
    pub passage_prefix: String,
}

impl EmbedderFingerprint {
    /// A short stable name, part of the pipeline's.
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).expect("a struct of strings and a number serialises");
        blake3::hash(&json).to_hex()[..16].to_owned()
    }
}

/// What a text is; some models are told by a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// A question; embedded in a lane of its own, ahead of passages.
    Query,
    /// A stored text.
    Passage,
}

/// A text's vector, and its tokens' where the model is ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Unit length, `dimensions` long.
    pub vector: Vec<f32>,
    /// The last hidden states, where the model gives them.
    pub tokens: Option<EmbeddedTokens>,
}

/// What a stored text got.
#[derive(Debug, Clone, PartialEq)]
pub enum PassageEmbedding {
    /// The embedding of all of it.
    Full(Embedding),
    /// The embedding of its beginning: the model takes no more of this text.
    Truncated(Embedding),
    /// None, and why: the model cannot embed this text, while it embeds others.
    None(String),
}

/// The last hidden states of a text's wordpieces, without the special tokens, in order of the text.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedTokens {
    /// Wordpiece ids.
    pub ids: Vec<u32>,
    /// The wordpieces as the vocabulary spells them.
    pub pieces: Vec<String>,
    /// Bytes in the text that was embedded, prefix not counted.
    pub spans: Vec<Range<u32>>,
    /// A unit vector each.
    pub vectors: TokenVectors,
}

/// Why texts got no vectors.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EmbedError {
    /// Try again, not before `after` if given.
    #[error("the embedder is busy: {detail}")]
    Busy {
        /// What it said.
        detail: String,
        /// When to come back.
        after: Option<Duration>,
    },
    /// The same texts will be refused again.
    #[error("the embedder refused: {detail}")]
    Refused {
        /// What it said.
        detail: String,
    },
    /// It did not work, for a reason that may pass.
    #[error("the embedder failed: {detail}")]
    Broken {
        /// What went wrong.
        detail: String,
    },
}

/// Text to vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// What decides the vectors.
    fn fingerprint(&self) -> &EmbedderFingerprint;

    /// The embeddings of `texts`, in order. Retries what may pass before it gives up.
    async fn embed_texts(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError>;

    /// The embeddings of stored `texts`, in order. A text that alone keeps them from being embedded costs no other one its
    /// embedding; an error says that the embedder itself fails.
    async fn embed_passages(&self, texts: &[String]) -> Result<Vec<PassageEmbedding>, EmbedError> {
        let embeddings = self.embed_texts(texts, TextKind::Passage).await?;
        Ok(embeddings.into_iter().map(PassageEmbedding::Full).collect())
    }

    /// Whether the model reads all of a chunk, as far as that is known without asking it; the same at all times.
    fn fits_input_limit(&self, _text: &str) -> bool {
        true
    }

    /// How well the model can read `text`; none if it cannot tell, which counts as fully.
    fn word_statistics(&self, text: &str) -> Option<WordStatistics>;
}
