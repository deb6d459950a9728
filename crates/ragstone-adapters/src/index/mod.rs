//! Indexes: where chunks are found.

#[cfg(feature = "qdrant")]
pub mod qdrant;
