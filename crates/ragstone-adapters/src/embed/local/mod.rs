//! The embedding model of this process as an `Embedder`.
//!
//! The forward pass is in the crate `ragstone-encoder`; here are the thread pools, separate for queries and passages.

mod embedder;
#[cfg(test)]
mod tests;

pub use embedder::LocalEmbedder;
pub use ragstone_encoder::{LocalModel, LocalOptions, ModelError, NumericPrecision, PoolingMode};
