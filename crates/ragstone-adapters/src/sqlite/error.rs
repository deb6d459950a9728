//! Why a database does not do what it is asked.

use std::path::PathBuf;
use std::sync::Arc;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// SQLite said no.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file could not be made or protected.
    #[error("cannot open {path}: {source}")]
    File {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A later program wrote it.
    #[error("{path} has schema {found}, this program knows up to {known}; hint: use the newer program")]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema known here.
        known: u32,
    },
    /// The copy that is made before an upgrade finds no room.
    #[error(
        "{path} has to be upgraded, and the disk has no room for the copy that is made of it before: it takes {needed} bytes \
         and a tenth and 64 MiB more, and {free} bytes are free"
    )]
    NoRoomForCopy {
        /// The database file.
        path: PathBuf,
        /// Its size.
        needed: u64,
        /// What is free on its disk.
        free: u64,
    },
    /// A value in a row cannot be read.
    #[error("damaged row: {0}")]
    Damaged(String),
    /// Another write of the same transaction failed so that SQLite took all of it back.
    #[error("a write beside it found no room, so it was taken back")]
    RolledBack,
    /// The transaction that it shared with other writes failed.
    #[error(transparent)]
    GroupCommit(Arc<SqliteError>),
    /// The task that ran the statement ended early.
    #[error("the database task ended early: {0}")]
    TaskEnded(String),
}

impl SqliteError {
    /// Whether what is stored cannot be read, rather than not be read now.
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

    /// Whether the disk has no room.
    pub fn is_full(&self) -> bool {
        use rusqlite::ErrorCode::DiskFull;
        match self {
            Self::Sqlite(error) => error.sqlite_error_code() == Some(DiskFull),
            Self::GroupCommit(error) => error.is_full(),
            _ => false,
        }
    }
}
