//! Caches of embeddings that were computed before.

#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::SqliteEmbeddingCache;
