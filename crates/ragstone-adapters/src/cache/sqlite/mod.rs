//! The embedding cache in a SQLite file of its own.
//!
//! Invariant: nothing in the file is required. Writes are not synced to disk, each embedding has a checksum, and a
//! damaged file is replaced by an empty one.

mod file;
mod rows;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ragstone_core::id::DocumentId;
use ragstone_core::seam::EmbeddingCache;
use ragstone_core::seam::embedding_cache::{EmbeddingCacheError, EmbeddingKey, StoredEmbedding};
use rusqlite::Connection;

use crate::sqlite::{SqliteError, lock_mutex, run_blocking};
use file::CacheFile;

/// Embedding cache in a file with a size limit.
#[derive(Clone)]
pub struct SqliteEmbeddingCache {
    file: Arc<Mutex<CacheFile>>,
}

impl SqliteEmbeddingCache {
    /// Opens or creates the file with mode 0600; replaces a damaged one. At most `max_bytes` of it are in use, plus a
    /// write-ahead log of a few megabytes. Blocks.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, EmbeddingCacheError> {
        let file = CacheFile::open(path, max_bytes)?;
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
        })
    }

    /// Removes the file of a cache that is switched off, because later deletions would not reach it. Blocks.
    ///
    /// # Errors
    /// If the file exists and cannot be removed.
    pub fn remove_file(path: &Path) -> Result<(), EmbeddingCacheError> {
        file::remove_files(path)
    }

    async fn run_on_file<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Connection, u64) -> Result<T, CacheFileError> + Send + 'static,
    ) -> Result<T, EmbeddingCacheError> {
        let file = self.file.clone();
        run_blocking(move || lock_mutex(&file).run_or_rebuild(work)).await
    }
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
enum CacheFileError {
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Damaged(&'static str),
}

impl CacheFileError {
    /// Whether an empty file would help: always, except when the system is short of memory, disk or the like.
    fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode;
        let Self::Sqlite(error) = self else {
            return true;
        };
        !matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::CannotOpen
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::OutOfMemory
                    | ErrorCode::PermissionDenied
                    | ErrorCode::ReadOnly
                    | ErrorCode::SystemIoFailure
            )
        )
    }
}

impl From<CacheFileError> for EmbeddingCacheError {
    fn from(failure: CacheFileError) -> Self {
        unavailable_error(failure)
    }
}

impl From<SqliteError> for EmbeddingCacheError {
    fn from(error: SqliteError) -> Self {
        unavailable_error(error)
    }
}

fn unavailable_error(reason: impl ToString) -> EmbeddingCacheError {
    EmbeddingCacheError {
        detail: reason.to_string(),
    }
}

#[async_trait]
impl EmbeddingCache for SqliteEmbeddingCache {
    async fn get_embeddings(
        &self,
        fingerprint: &str,
        document: DocumentId,
        keys: &[EmbeddingKey],
    ) -> Result<Vec<Option<StoredEmbedding>>, EmbeddingCacheError> {
        let (fingerprint, keys) = (fingerprint.to_owned(), keys.to_vec());
        self.run_on_file(move |connection, turn| rows::get_embeddings(connection, turn, &fingerprint, document, &keys))
            .await
    }

    async fn put_embeddings(
        &self,
        fingerprint: &str,
        document: DocumentId,
        entries: Vec<(EmbeddingKey, StoredEmbedding)>,
    ) -> Result<(), EmbeddingCacheError> {
        let fingerprint = fingerprint.to_owned();
        self.run_on_file(move |connection, turn| {
            rows::put_embeddings(connection, turn, &fingerprint, document, &entries)
        })
        .await
    }

    async fn remove_document(&self, document: DocumentId) -> Result<(), EmbeddingCacheError> {
        self.run_on_file(move |connection, _| rows::remove_document(connection, document))
            .await
    }

    async fn list_documents(&self) -> Result<Vec<DocumentId>, EmbeddingCacheError> {
        self.run_on_file(|connection, _| rows::list_documents(connection)).await
    }
}
