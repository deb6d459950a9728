//! What the ledger is told when a step of ingestion did not work: code, detail, hint, and whether it may pass.

use crate::document::JobError;
use crate::library::text::TextError;
use crate::seam::{CatalogueError, EmbedError, IndexError, ParseFailure};

/// Why a step did not work.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub error: JobError,
    pub may_pass: bool,
    /// The lease is gone.
    pub stale: bool,
}

impl Trouble {
    pub fn new(code: &str, detail: impl ToString, hint: &str, may_pass: bool) -> Self {
        let error = JobError {
            code: code.into(),
            detail: detail.to_string(),
            hint: hint.into(),
        };
        Self {
            error,
            may_pass,
            stale: false,
        }
    }
}

impl From<CatalogueError> for Trouble {
    fn from(error: CatalogueError) -> Self {
        let stale = matches!(error, CatalogueError::Stale);
        let trouble = Self::new(
            "catalogue_unavailable",
            error,
            "it is tried again by itself",
            true,
        );
        Self { stale, ..trouble }
    }
}

impl From<IndexError> for Trouble {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Unavailable { .. } => {
                Self::new("index_unavailable", error, "it is tried again by itself", true)
            }
            _ => Self::new("index_refused", error, "run `ragstone doctor`", false),
        }
    }
}

impl From<EmbedError> for Trouble {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Refused { .. } => Self::new(
                "embedding_refused",
                error,
                "check the embedding model and its key",
                false,
            ),
            _ => Self::new("embedding_failed", error, "it is tried again by itself", true),
        }
    }
}

impl From<TextError> for Trouble {
    fn from(error: TextError) -> Self {
        Self::new(
            "blob_store_failed",
            error,
            "check the disk of the data directory",
            true,
        )
    }
}

impl From<ParseFailure> for Trouble {
    fn from(failure: ParseFailure) -> Self {
        Self {
            error: failure.error,
            may_pass: failure.may_pass,
            stale: false,
        }
    }
}

impl From<object_store::Error> for Trouble {
    fn from(error: object_store::Error) -> Self {
        Self::new(
            "blob_store_failed",
            error,
            "check the disk of the data directory",
            true,
        )
    }
}
