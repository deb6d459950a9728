//! Why the catalogue did not do what it was asked.

use crate::access::Reader;

/// Why the catalogue did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogueError {
    /// It is down, locked or out of disk; may pass.
    #[error("the catalogue is unavailable: {detail}")]
    Unavailable {
        /// What went wrong.
        detail: String,
    },
    /// Its disk is full; passes once there is room.
    #[error("the catalogue's disk is full: {detail}")]
    Full {
        /// What went wrong.
        detail: String,
    },
    /// The URI belongs to a document that this caller may not read or write.
    #[error("the uri is taken")]
    UriTaken,
    /// A document of this name has other bytes, and nobody said that these may take their place.
    #[error("a document of this name has other bytes")]
    NameTaken,
    /// The caller may read the document and not change it.
    #[error("this caller may read the document but not change it")]
    WriteRefused,
    /// The caller would give or take away a reader that it does not hold.
    #[error("you may neither grant nor take away {0}")]
    ReaderRefused(Reader),
    /// The batch is another caller's, or was cancelled.
    #[error("the batch is another caller's, or was cancelled")]
    BatchTaken,
    /// The lease is stale: somebody else has the job, or it was cancelled. Write nothing more.
    #[error("the lease is stale")]
    Stale,
    /// A cursor that no list gave.
    #[error("the cursor is not one that a list gave")]
    BadCursor,
    /// What is stored cannot be read.
    #[error("the catalogue is damaged: {detail}")]
    Damaged {
        /// What was found.
        detail: String,
    },
}

/// A catalogue call's answer.
pub type CatalogueResult<T> = Result<T, CatalogueError>;
