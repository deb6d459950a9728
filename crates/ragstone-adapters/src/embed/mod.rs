//! Embedders.

#[cfg(feature = "openai")]
mod openai;

#[cfg(feature = "openai")]
pub use openai::{OpenAiEmbedder, OpenAiEmbedderOptions};
