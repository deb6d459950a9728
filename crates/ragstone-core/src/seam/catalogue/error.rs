//! Errors of the catalogue.

use crate::access::Reader;

/// Error of a catalogue call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogueError {
    /// The catalogue is down, locked or out of disk; a retry may succeed.
    #[error("the catalogue is unavailable: {detail}")]
    Unavailable {
        /// Cause of the failure.
        detail: String,
    },
    /// The disk is full; a retry succeeds once there is room.
    #[error("the catalogue's disk is full: {detail}")]
    Full {
        /// Message of the database or the system.
        detail: String,
    },
    /// The URI belongs to a document that this caller may not read or write.
    #[error("the uri is taken")]
    UriTaken,
    /// A document of this name has other bytes, and the version may not replace them.
    #[error("a document of this name has other bytes")]
    NameTaken,
    /// The caller may read but not change the document.
    #[error("this caller may read the document but not change it")]
    WriteRefused,
    /// The caller would add or remove a reader that it may not grant.
    #[error("you may neither grant nor take away {0}")]
    ReaderRefused(Reader),
    /// The batch belongs to another caller, or was cancelled.
    #[error("the batch is another caller's, or was cancelled")]
    BatchTaken,
    /// The lease is stale: another worker has the job, or it was cancelled. The worker must write nothing more.
    #[error("the lease is stale")]
    Stale,
    /// The cursor did not come from a list of this catalogue.
    #[error("the cursor is not one that a list gave")]
    BadCursor,
    /// The stored data cannot be read.
    #[error("the catalogue is damaged: {detail}")]
    Damaged {
        /// Description of the damage.
        detail: String,
    },
}

/// Result of a catalogue call.
pub type CatalogueResult<T> = Result<T, CatalogueError>;
