//! Text to vectors: the local model, the download of its weights, and any OpenAI-compatible service.

mod gathered;
#[cfg(feature = "local-embedder")]
pub mod local;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "local-embedder")]
pub mod weights;

pub use gathered::BatchingEmbedder;
#[cfg(feature = "openai")]
pub use openai::{DEFAULT_CHUNK_TOKENS, OpenAiEmbedder, OpenAiEmbedderOptions};
