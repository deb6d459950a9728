//! What the ledger is told when a step of ingestion did not work: code, detail, hint, and what another attempt may bring.

use std::time::Duration;

use crate::document::JobError;
use crate::library::text::TextError;
use crate::seam::parser::ParseRetry;
use crate::seam::{CatalogueError, EmbedError, IndexError, ParseFailure};

/// What another attempt may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same again.
    Never,
    /// Perhaps success; this one counts as a failure.
    Spends,
    /// The same, unless the attempt before ended with the same code: then it is final.
    SpendsOnce,
    /// Success once what is away or busy is back, not before `after` if it said so; this one counts as nothing.
    Free { after: Option<Duration> },
}

/// Why a step did not work.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub error: JobError,
    pub retry: Retry,
    /// The lease is gone.
    pub stale: bool,
}

impl Trouble {
    pub fn new(code: &str, detail: impl ToString, hint: &str, retry: Retry) -> Self {
        let error = JobError {
            code: code.into(),
            detail: detail.to_string(),
            hint: hint.into(),
        };
        Self {
            error,
            retry,
            stale: false,
        }
    }

    /// An error after which the job is not tried again.
    pub fn last(error: JobError) -> Self {
        Self {
            error,
            retry: Retry::Never,
            stale: false,
        }
    }

    /// What is told once it is not tried again: a hint that it will be is no help any more.
    pub fn given_up(&self, attempts: u32) -> JobError {
        let hint = match self.retry {
            Retry::Never | Retry::SpendsOnce => return self.error.clone(),
            Retry::Spends | Retry::Free { .. } => {
                format!("it was tried {attempts} times; mend what the detail names, then `ragstone job retry ID`")
            }
        };
        JobError {
            hint,
            ..self.error.clone()
        }
    }

    /// Something outside is away, busy or full.
    pub fn outage(code: &str, detail: impl ToString, after: Option<Duration>) -> Self {
        Self::new(code, detail, "it is tried again by itself", Retry::Free { after })
    }
}

impl From<CatalogueError> for Trouble {
    fn from(error: CatalogueError) -> Self {
        let stale = matches!(error, CatalogueError::Stale);
        let trouble = Self::outage("catalogue_unavailable", error, None);
        Self { stale, ..trouble }
    }
}

impl From<IndexError> for Trouble {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Unavailable { .. } => Self::outage("index_unavailable", error, None),
            _ => Self::new("index_refused", error, "run `ragstone doctor`", Retry::Never),
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
                Retry::Never,
            ),
            EmbedError::Busy { after, .. } => Self::outage("embedding_failed", error, after),
            EmbedError::Broken { .. } => Self::outage("embedding_failed", error, None),
        }
    }
}

impl From<TextError> for Trouble {
    fn from(error: TextError) -> Self {
        match error {
            TextError::Store(error) => error.into(),
            TextError::Damaged(_) => blob_store(error, Retry::Spends),
        }
    }
}

impl From<object_store::Error> for Trouble {
    fn from(error: object_store::Error) -> Self {
        let retry = match error {
            // A store that is away, a disk that is full: no word about what was asked for.
            object_store::Error::Generic { .. } => Retry::Free { after: None },
            _ => Retry::Spends,
        };
        blob_store(error, retry)
    }
}

fn blob_store(error: impl ToString, retry: Retry) -> Trouble {
    Trouble::new(
        "blob_store_failed",
        error,
        "check the disk of the data directory",
        retry,
    )
}

impl From<ParseFailure> for Trouble {
    fn from(failure: ParseFailure) -> Self {
        Self {
            error: failure.error,
            retry: match failure.retry {
                ParseRetry::Usual => Retry::Spends,
                ParseRetry::Once => Retry::SpendsOnce,
                ParseRetry::Never => Retry::Never,
            },
            stale: false,
        }
    }
}
