//! Errors of the PostgreSQL server, and the catalogue errors they become.

use ragstone_core::seam::catalogue::CatalogueError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::catalogue::value::DamagedValue;

/// Why an operation on the database failed.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL cannot be parsed.
    #[error("the postgresql url cannot be read; hint: postgresql://user:password@host:port/database")]
    Url,
    /// TLS cannot be set up.
    #[error("postgresql over tls: {0}")]
    Tls(String),
    /// The server returned an error, or did not answer.
    #[error("postgresql: {}", describe_server_error(.0))]
    Server(#[from] Error),
    /// No connection was available in time.
    #[error("postgresql: no connection: {0}")]
    NoConnection(String),
    /// A later program wrote the database.
    #[error("the database has schema {found}, this program knows up to {known}; hint: use the newer program")]
    Newer {
        /// Schema number of the database.
        found: u32,
        /// Newest schema number of this program.
        known: u32,
    },
    /// A value in a row cannot be read.
    #[error("damaged row: {0}")]
    Damaged(String),
}

/// Only the error's message: the server's details may contain values of rows.
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

    /// Whether the transaction lost a race and may succeed when retried. Two inserts of the same row are such a race.
    pub fn is_race(&self) -> bool {
        const RACES: [SqlState; 3] = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::UNIQUE_VIOLATION,
        ];
        self.sql_state().is_some_and(|code| RACES.contains(code))
    }

    /// Whether a server that is absent or still starting may be the reason.
    pub fn is_transient(&self) -> bool {
        // SQLSTATE classes of refused connections, exhausted resources, and a server that starts or stops.
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

    /// Whether the stored data is corrupt, and not only unreadable for the moment.
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

/// Error of a transaction: from the database, or from a rule of the catalogue.
#[derive(Debug)]
pub enum PostgresTransactionError {
    Database(PostgresError),
    Rule(CatalogueError),
}

impl PostgresTransactionError {
    /// Whether to retry, see [`PostgresError::is_race`].
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
