//! Checks whether the server is reachable.

use super::PostgresCatalogue;
use super::database::PostgresDatabase;
use super::error::{PostgresError, PostgresTransactionError};
use super::options::PostgresOptions;

/// Version of the server, without any further access.
pub async fn server_version(options: &PostgresOptions) -> Result<String, PostgresError> {
    let session = PostgresDatabase::new(options)?.open_session().await?;
    let version = session.query_one("select current_setting('server_version') as version", &[]);
    Ok(version.await.map_err(into_postgres_error)?.get("version"))
}

/// Whether the database holds an API key; false for one without our tables. Changes nothing.
pub async fn has_keys(options: &PostgresOptions) -> Result<bool, PostgresError> {
    let session = PostgresDatabase::new(options)?.open_session().await?;
    let has_table = "select to_regclass('api_keys') is not null as found";
    let found = async {
        match session.query_one(has_table, &[]).await?.get("found") {
            false => Ok(false),
            true => {
                let found = session.query_one("select exists (select 1 from api_keys) as found", &[]);
                Ok(found.await?.get("found"))
            }
        }
    };
    found.await.map_err(into_postgres_error)
}

fn into_postgres_error(failure: PostgresTransactionError) -> PostgresError {
    match failure {
        PostgresTransactionError::Database(error) => error,
        PostgresTransactionError::Rule(rule) => PostgresError::Damaged(rule.to_string()),
    }
}

impl PostgresCatalogue {
    /// Whether the server answers a query.
    pub async fn ping_server(&self) -> Result<(), PostgresError> {
        match self.database.open_session().await?.run_script("").await {
            Err(PostgresTransactionError::Database(error)) => Err(error),
            _ => Ok(()),
        }
    }
}
