//! What the ledger is told when a step of ingestion did not work: code, detail, hint, and what another attempt may bring.

use std::time::Duration;

use crate::document::JobError;
use crate::library::text::TextError;
use crate::seam::parser::ParseRetry;
use crate::seam::{CatalogueError, EmbedError, IndexError, ParseFailure};

/// What another attempt may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryPolicy {
    /// The same again.
    Never,
    /// Perhaps success; this one counts as a failure.
    Counted,
    /// The same, unless the attempt before ended with the same code: then it is final.
    CountedOnce,
    /// Success once what is away or busy is back, not before `after` if it said so; this one counts as nothing.
    Uncounted { after: Option<Duration> },
}

/// Why a step did not work.
#[derive(Debug, Clone)]
pub struct StepError {
    pub error: JobError,
    pub retry: RetryPolicy,
    /// The lease is gone.
    pub stale: bool,
}

impl StepError {
    pub fn new(code: &str, detail: impl ToString, hint: &str, retry: RetryPolicy) -> Self {
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
    pub fn without_retry(error: JobError) -> Self {
        Self {
            error,
            retry: RetryPolicy::Never,
            stale: false,
        }
    }

    /// What is told once it is not tried again: a hint that it will be is no help any more.
    pub fn final_job_error(&self, attempts: u32) -> JobError {
        let hint = match self.retry {
            RetryPolicy::Never | RetryPolicy::CountedOnce => return self.error.clone(),
            RetryPolicy::Counted | RetryPolicy::Uncounted { .. } => {
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
        Self::new(
            code,
            detail,
            "it is tried again by itself",
            RetryPolicy::Uncounted { after },
        )
    }
}

impl From<CatalogueError> for StepError {
    fn from(error: CatalogueError) -> Self {
        let stale = matches!(error, CatalogueError::Stale);
        let trouble = Self::outage("catalogue_unavailable", error, None);
        Self { stale, ..trouble }
    }
}

impl From<IndexError> for StepError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Unavailable { .. } => Self::outage("index_unavailable", error, None),
            _ => Self::new("index_refused", error, "run `ragstone doctor`", RetryPolicy::Never),
        }
    }
}

impl From<EmbedError> for StepError {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Refused { .. } => Self::new(
                "embedding_refused",
                error,
                "check the embedding model and its key",
                RetryPolicy::Never,
            ),
            EmbedError::Busy { after, .. } => Self::outage("embedding_failed", error, after),
            EmbedError::Broken { .. } => Self::outage("embedding_failed", error, None),
        }
    }
}

impl From<TextError> for StepError {
    fn from(error: TextError) -> Self {
        match error {
            TextError::Store(error) => error.into(),
            TextError::Damaged(_) => blob_store_error(error, RetryPolicy::Counted),
        }
    }
}

impl From<object_store::Error> for StepError {
    fn from(error: object_store::Error) -> Self {
        let retry = match error {
            // A store that is away, a disk that is full: no word about what was asked for.
            object_store::Error::Generic { .. } => RetryPolicy::Uncounted { after: None },
            _ => RetryPolicy::Counted,
        };
        blob_store_error(error, retry)
    }
}

fn blob_store_error(error: impl ToString, retry: RetryPolicy) -> StepError {
    StepError::new(
        "blob_store_failed",
        error,
        "check the disk of the data directory",
        retry,
    )
}

impl From<ParseFailure> for StepError {
    fn from(failure: ParseFailure) -> Self {
        Self {
            error: failure.error,
            retry: match failure.retry {
                ParseRetry::Usual => RetryPolicy::Counted,
                ParseRetry::Once => RetryPolicy::CountedOnce,
                ParseRetry::Never => RetryPolicy::Never,
            },
            stale: false,
        }
    }
}
