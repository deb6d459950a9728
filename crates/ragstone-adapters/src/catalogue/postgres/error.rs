//! What goes wrong with a server, and what the catalogue calls it.

use ragstone_core::seam::catalogue::CatalogueError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::catalogue::value::DamagedValue;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL is none.
    #[error("the postgresql url cannot be read; hint: postgresql://user:password@host:port/database")]
    Url,
    /// TLS cannot be set up.
    #[error("postgresql over tls: {0}")]
    Tls(String),
    /// The server said no, or said nothing.
    #[error("postgresql: {}", describe_server_error(.0))]
    Server(#[from] Error),
    /// No connection could be had in time.
    #[error("postgresql: no connection: {0}")]
    NoConnection(String),
    /// A later program wrote it.
    #[error("the database has schema {found}, this program knows up to {known}; hint: use the newer program")]
    Newer {
        /// Its schema.
        found: u32,
        /// The newest schema known here.
        known: u32,
    },
    /// A value in a row cannot be read.
    #[error("damaged row: {0}")]
    Damaged(String),
}

/// The message alone: details of the server may hold values of rows.
fn describe_server_error(error: &Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    }
}

impl PostgresError {
    fn sql_state(&self) -> Option<&SqlState> {
        match self {
            Self::Server(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the transaction lost a race and may win the next one. Two that make the same row are such a race.
    pub fn is_race(&self) -> bool {
        const RACES: [SqlState; 3] = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::UNIQUE_VIOLATION,
        ];
        self.sql_state().is_some_and(|code| RACES.contains(code))
    }

    /// Whether a server that is not there, or not yet, may be the reason.
    pub fn is_transient(&self) -> bool {
        // Connections that are refused for now, and a server that starts or stops.
        const PASSING: [&str; 3] = ["08", "53", "57"];
        let passes = |code: &SqlState| PASSING.iter().any(|class| code.code().starts_with(class));
        match self {
            Self::Server(error) => error.code().is_none_or(passes),
            other => matches!(other, Self::NoConnection(_)),
        }
    }

    fn is_full(&self) -> bool {
        self.sql_state() == Some(&SqlState::DISK_FULL)
    }

    /// Whether what is stored cannot be read, rather than not be read now.
    fn is_damaged(&self) -> bool {
        let damage = |code: &SqlState| *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED;
        matches!(self, Self::Damaged(_)) || self.sql_state().is_some_and(damage)
    }
}

impl From<PostgresError> for CatalogueError {
    fn from(error: PostgresError) -> Self {
        let detail = error.to_string();
        match error {
            error if error.is_damaged() => Self::Damaged { detail },
            error if error.is_full() => Self::Full { detail },
            _ => Self::Unavailable { detail },
        }
    }
}

/// What stops a transaction: the database, or a rule of the catalogue.
#[derive(Debug)]
pub enum PostgresTransactionError {
    Database(PostgresError),
    Rule(CatalogueError),
}

impl PostgresTransactionError {
    /// See [`PostgresError::is_race`].
    pub fn is_race(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_race())
    }
}

impl From<PostgresError> for PostgresTransactionError {
    fn from(error: PostgresError) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for PostgresTransactionError {
    fn from(error: Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<DamagedValue> for PostgresTransactionError {
    fn from(damaged: DamagedValue) -> Self {
        Self::Database(PostgresError::Damaged(damaged.0))
    }
}

impl From<CatalogueError> for PostgresTransactionError {
    fn from(error: CatalogueError) -> Self {
        Self::Rule(error)
    }
}

impl From<PostgresTransactionError> for CatalogueError {
    fn from(failure: PostgresTransactionError) -> Self {
        match failure {
            PostgresTransactionError::Database(error) => error.into(),
            PostgresTransactionError::Rule(error) => error,
        }
    }
}
