//! Indexes: where chunks are found.

#[cfg(feature = "sqlite")]
pub mod embedded;
#[cfg(feature = "qdrant")]
pub mod qdrant;
