//! Errors of the SQLite database.

use std::path::PathBuf;
use std::sync::Arc;

/// Why an operation on the database failed.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// SQLite returned an error.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file could not be created or protected.
    #[error("cannot open {path}: {source}")]
    File {
        /// Path of the database file.
        path: PathBuf,
        /// Error from the operating system.
        source: std::io::Error,
    },
    /// A later program wrote the database.
    #[error("{path} has schema {found}, this program knows up to {known}; hint: use the newer program")]
    Newer {
        /// Path of the database file.
        path: PathBuf,
        /// Schema number of the database.
        found: u32,
        /// Newest schema number of this program.
        known: u32,
    },
    /// The disk has no room for the backup copy before an upgrade.
    #[error(
        "{path} has to be upgraded, and the disk has no room for the copy that is made of it before: it takes {needed} bytes \
         and a tenth and 64 MiB more, and {free} bytes are free"
    )]
    NoRoomForCopy {
        /// Path of the database file.
        path: PathBuf,
        /// Size of the copy in bytes.
        needed: u64,
        /// Free bytes on its disk.
        free: u64,
    },
    /// A value in a row cannot be read.
    #[error("damaged row: {0}")]
    Damaged(String),
    /// Another write of the same transaction failed, and SQLite rolled back all of it.
    #[error("a write beside it found no room, so it was taken back")]
    RolledBack,
    /// The transaction shared with other writes failed.
    #[error(transparent)]
    GroupCommit(Arc<SqliteError>),
    /// The task that ran the statement ended early.
    #[error("the database task ended early: {0}")]
    TaskEnded(String),
}

impl SqliteError {
    /// Whether the stored data is corrupt, and not only unreadable for the moment.
    pub fn is_damaged(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Damaged(_) => true,
            Self::GroupCommit(error) => error.is_damaged(),
            Self::Sqlite(error) => {
                matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
            }
            _ => false,
        }
    }

    /// Whether the error is a full disk.
    pub fn is_full(&self) -> bool {
        use rusqlite::ErrorCode::DiskFull;
        match self {
            Self::Sqlite(error) => error.sqlite_error_code() == Some(DiskFull),
            Self::GroupCommit(error) => error.is_full(),
            _ => false,
        }
    }
}
