//! Whether the server is there.

use super::PostgresCatalogue;
use super::database::Database;
use super::error::{Failure, PostgresError};
use super::options::PostgresOptions;

/// The version of the server, which is asked for nothing else.
pub async fn version(options: &PostgresOptions) -> Result<String, PostgresError> {
    let session = Database::new(options)?.session().await?;
    let version = session.one("select current_setting('server_version') as version", &[]);
    Ok(version.await.map_err(failed)?.get("version"))
}

/// Whether the database holds an API key; one without our tables holds none. Changes nothing.
pub async fn has_keys(options: &PostgresOptions) -> Result<bool, PostgresError> {
    let session = Database::new(options)?.session().await?;
    let has_table = "select to_regclass('api_keys') is not null as found";
    let found = async {
        match session.one(has_table, &[]).await?.get("found") {
            false => Ok(false),
            true => {
                let found = session.one("select exists (select 1 from api_keys) as found", &[]);
                Ok(found.await?.get("found"))
            }
        }
    };
    found.await.map_err(failed)
}

fn failed(failure: Failure) -> PostgresError {
    match failure {
        Failure::Database(error) => error,
        Failure::Rule(rule) => PostgresError::Damaged(rule.to_string()),
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
