//! Whether the server is there.

use super::PostgresCatalogue;
use super::database::Database;
use super::error::{Failure, PostgresError};
use super::options::PostgresOptions;

/// The version of the server, which is asked for nothing else.
pub async fn version(options: &PostgresOptions) -> Result<String, PostgresError> {
    let session = Database::new(options)?.session().await?;
    match session
        .one("select current_setting('server_version') as version", &[])
        .await
    {
        Ok(row) => Ok(row.get("version")),
        Err(Failure::Database(error)) => Err(error),
        Err(Failure::Rule(rule)) => Err(PostgresError::Damaged(rule.to_string())),
    }
}

impl PostgresCatalogue {
    /// Whether the server answers.
    pub async fn ping(&self) -> Result<(), PostgresError> {
        match self.database.session().await?.script("").await {
            Err(Failure::Database(error)) => Err(error),
            _ => Ok(()),
        }
    }
}
