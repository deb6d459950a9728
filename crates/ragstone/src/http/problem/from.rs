//! Converts the errors of core and adapters to problems: the only mapping from errors to HTTP.

use std::time::Duration;

use ragstone_core::ask::AnswerError;
use ragstone_core::document::{MetadataError, SourceUrlError, UriError};
use ragstone_core::filter::FilterError;
use ragstone_core::ingest::{AcceptError, GrantError};
use ragstone_core::library::LibraryError;
use ragstone_core::seam::{CatalogueError, EmbedError, IndexError};
use ragstone_core::sync::SyncError;

use super::{ApiProblem, Code};

/// `Retry-After` of a busy model; the wait that the service asked for has passed already.
const MODEL_BUSY_WAIT: Duration = Duration::from_secs(10);

fn internal_problem(error: &dyn std::fmt::Display) -> ApiProblem {
    ApiProblem::new(Code::Internal, "this request could not be carried out").with_cause(error)
}

fn unavailable_problem(code: Code, error: &dyn std::fmt::Display) -> ApiProblem {
    ApiProblem::new(code, code.title().to_lowercase()).with_cause(error)
}

impl From<CatalogueError> for ApiProblem {
    fn from(error: CatalogueError) -> Self {
        match &error {
            CatalogueError::Unavailable { .. } => unavailable_problem(Code::CatalogueUnavailable, &error),
            CatalogueError::Full { .. } => unavailable_problem(Code::StorageFull, &error),
            CatalogueError::UriTaken => Self::new(Code::UriTaken, error.to_string()),
            CatalogueError::WriteRefused => Self::new(Code::WriteRefused, error.to_string()),
            CatalogueError::ReaderRefused(_) => {
                Self::new(Code::GrantRefused, error.to_string()).with_pointer("/readers")
            }
            CatalogueError::NameTaken => Self::new(Code::NameTaken, error.to_string()),
            CatalogueError::BatchTaken => Self::new(Code::BatchTaken, error.to_string()),
            CatalogueError::BadCursor => Self::new(Code::BadCursor, error.to_string()),
            CatalogueError::Stale => Self::new(Code::Conflict, "somebody else changed this meanwhile"),
            CatalogueError::Damaged { .. } => internal_problem(&error),
        }
    }
}

impl From<LibraryError> for ApiProblem {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::BadQuestion(detail) => Self::new(Code::BadQuestion, detail),
            LibraryError::Catalogue(error) => error.into(),
            LibraryError::Index(error @ IndexError::Unavailable { .. }) => {
                unavailable_problem(Code::IndexUnavailable, &error)
            }
            LibraryError::Index(error) => internal_problem(&error),
            LibraryError::Embed(error @ EmbedError::Busy { after, .. }) => {
                unavailable_problem(Code::EmbedderUnavailable, &error).with_retry_after(after)
            }
            LibraryError::Embed(error) => unavailable_problem(Code::EmbedderUnavailable, &error),
            LibraryError::Text(detail) => internal_problem(&detail),
        }
    }
}

impl From<AcceptError> for ApiProblem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::TooLarge { .. } => Self::new(Code::TooLarge, error.to_string()),
            AcceptError::Invalid(detail) => Self::new(Code::BadField, detail),
            AcceptError::Interrupted { .. } => Self::new(Code::Interrupted, error.to_string()),
            AcceptError::Store(detail) => internal_problem(&detail),
            AcceptError::Full(_) => unavailable_problem(Code::StorageFull, &error),
            AcceptError::Catalogue(error) => error.into(),
        }
    }
}

impl From<GrantError> for ApiProblem {
    fn from(error: GrantError) -> Self {
        let code = match &error {
            GrantError::Reader(_) => Code::BadReader,
            GrantError::Required => Code::ReadersRequired,
            GrantError::NotYours(_) => Code::GrantRefused,
            GrantError::ReadOnly => Code::Forbidden,
        };
        Self::new(code, error.to_string())
    }
}

impl From<MetadataError> for ApiProblem {
    fn from(error: MetadataError) -> Self {
        Self::new(Code::BadField, error.to_string())
            .with_hint("keep in metadata what searches are filtered by, and the rest in the text")
            .with_pointer("/metadata")
    }
}

impl From<SourceUrlError> for ApiProblem {
    fn from(error: SourceUrlError) -> Self {
        Self::new(Code::BadField, error.to_string()).with_pointer("/source_url")
    }
}

impl From<UriError> for ApiProblem {
    fn from(error: UriError) -> Self {
        let code = match &error {
            UriError::Malformed => Code::BadField,
            UriError::Reserved => Code::UriReserved,
        };
        Self::new(code, error.to_string()).with_pointer("/uri")
    }
}

impl From<SyncError> for ApiProblem {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Running => Self::new(Code::SourceBusy, error.to_string()),
            SyncError::Unknown => Self::not_found("source"),
            SyncError::Catalogue(error) => error.into(),
        }
    }
}

impl From<FilterError> for ApiProblem {
    fn from(error: FilterError) -> Self {
        Self::new(Code::BadFilter, error.to_string()).with_pointer(format!("/filter{}", error.pointer))
    }
}

impl From<AnswerError> for ApiProblem {
    /// The codes of failed answers are problem codes too; one that is not in the table becomes `bad_question`.
    fn from(failed: AnswerError) -> Self {
        let code = Code::from_word(&failed.code).unwrap_or(Code::BadQuestion);
        let wait = (code == Code::ModelBusy).then_some(MODEL_BUSY_WAIT);
        Self::new(code, failed.detail).with_retry_after(wait)
    }
}
