//! The embedding model of this process, behind the seam.
//!
//! The forward pass is the crate `ragstone-encoder`; here are the lanes in which questions never wait for passages.

mod embedder;
#[cfg(test)]
mod tests;

pub use embedder::LocalEmbedder;
pub use ragstone_encoder::{LocalModel, LocalOptions, ModelError, NumericPrecision, PoolingMode};
