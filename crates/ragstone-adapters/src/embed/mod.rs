//! Text to vectors: the model that runs in this process, and how its weights reach the machine.

#[cfg(feature = "local-embedder")]
pub mod local;
#[cfg(feature = "local-embedder")]
pub mod weights;
//! Embedders.

#[cfg(feature = "openai")]
mod openai;

#[cfg(feature = "openai")]
pub use openai::{OpenAiEmbedder, OpenAiEmbedderOptions};
