//! What goes wrong on the floors below, as problems: the one match from errors to HTTP.

use std::time::Duration;

use ragstone_core::ask::Failed;
use ragstone_core::document::{MetadataError, SourceUrlError, UriError};
use ragstone_core::filter::FilterError;
use ragstone_core::ingest::{AcceptError, GrantError};
use ragstone_core::library::LibraryError;
use ragstone_core::seam::{CatalogueError, EmbedError, IndexError};
use ragstone_core::sync::SyncError;

use super::{Code, Problem};

/// When a model that was busy may be asked again; the service's own wait was tried already.
const MODEL_BUSY_WAIT: Duration = Duration::from_secs(10);

fn internal(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(Code::Internal, "this request could not be carried out").caused_by(error)
}

fn unavailable(code: Code, error: &dyn std::fmt::Display) -> Problem {
    Problem::new(code, code.title().to_lowercase()).caused_by(error)
}

impl From<CatalogueError> for Problem {
    fn from(error: CatalogueError) -> Self {
        match &error {
            CatalogueError::Unavailable { .. } => unavailable(Code::CatalogueUnavailable, &error),
            CatalogueError::Full { .. } => unavailable(Code::StorageFull, &error),
            CatalogueError::UriTaken => Self::new(Code::UriTaken, error.to_string()),
            CatalogueError::WriteRefused => Self::new(Code::WriteRefused, error.to_string()),
            CatalogueError::ReaderRefused(_) => Self::new(Code::GrantRefused, error.to_string()).at("/readers"),
            CatalogueError::NameTaken => Self::new(Code::NameTaken, error.to_string()),
            CatalogueError::BatchTaken => Self::new(Code::BatchTaken, error.to_string()),
            CatalogueError::BadCursor => Self::new(Code::BadCursor, error.to_string()),
            CatalogueError::Stale => Self::new(Code::Conflict, "somebody else changed this meanwhile"),
            CatalogueError::Damaged { .. } => internal(&error),
        }
    }
}

impl From<LibraryError> for Problem {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::BadQuestion(detail) => Self::new(Code::BadQuestion, detail),
            LibraryError::Catalogue(error) => error.into(),
            LibraryError::Index(error @ IndexError::Unavailable { .. }) => unavailable(Code::IndexUnavailable, &error),
            LibraryError::Index(error) => internal(&error),
            LibraryError::Embed(error @ EmbedError::Busy { after, .. }) => {
                unavailable(Code::EmbedderUnavailable, &error).after(after)
            }
            LibraryError::Embed(error) => unavailable(Code::EmbedderUnavailable, &error),
            LibraryError::Text(detail) => internal(&detail),
        }
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::TooLarge { .. } => Self::new(Code::TooLarge, error.to_string()),
            AcceptError::Invalid(detail) => Self::new(Code::BadField, detail),
            AcceptError::Interrupted { .. } => Self::new(Code::Interrupted, error.to_string()),
            AcceptError::Store(detail) => internal(&detail),
            AcceptError::Full(_) => unavailable(Code::StorageFull, &error),
            AcceptError::Catalogue(error) => error.into(),
        }
    }
}

impl From<GrantError> for Problem {
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

impl From<MetadataError> for Problem {
    fn from(error: MetadataError) -> Self {
        Self::new(Code::BadField, error.to_string())
            .hinting("keep in metadata what searches are filtered by, and the rest in the text")
            .at("/metadata")
    }
}

impl From<SourceUrlError> for Problem {
    fn from(error: SourceUrlError) -> Self {
        Self::new(Code::BadField, error.to_string()).at("/source_url")
    }
}

impl From<UriError> for Problem {
    fn from(error: UriError) -> Self {
        let code = match &error {
            UriError::Malformed => Code::BadField,
            UriError::Reserved => Code::UriReserved,
        };
        Self::new(code, error.to_string()).at("/uri")
    }
}

impl From<SyncError> for Problem {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Running => Self::new(Code::SourceBusy, error.to_string()),
            SyncError::Unknown => Self::not_found("source"),
            SyncError::Catalogue(error) => error.into(),
        }
    }
}

impl From<FilterError> for Problem {
    fn from(error: FilterError) -> Self {
        Self::new(Code::BadFilter, error.to_string()).at(format!("/filter{}", error.pointer))
    }
}

impl From<Failed> for Problem {
    /// The words of an answer's failures are codes too; one that is not in the table is a refusal of the question.
    fn from(failed: Failed) -> Self {
        let code = Code::of(&failed.code).unwrap_or(Code::BadQuestion);
        let wait = (code == Code::ModelBusy).then_some(MODEL_BUSY_WAIT);
        Self::new(code, failed.detail).after(wait)
    }
}
