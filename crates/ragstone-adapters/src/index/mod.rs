//! Indexes: where chunks are found.

#[cfg(feature = "sqlite")]
pub mod embedded;
