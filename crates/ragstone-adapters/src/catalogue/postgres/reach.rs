//! Whether the server is there, and whose database it holds.

use ragstone_core::seam::catalogue::CatalogueResult;
use uuid::Uuid;

use super::PostgresCatalogue;
use super::database::Database;
use super::error::{Failure, PostgresError};
use super::options::PostgresOptions;
use super::row::get;

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
    /// The id of this library, drawn when it is first asked for: what tells its index and its blobs from another's.
    pub async fn library(&self) -> CatalogueResult<Uuid> {
        let drawn = Uuid::new_v4().to_string();
        let session = self.database.session().await?;
        let draw = "insert into settings (key, value) values ('library', $1) on conflict (key) do nothing";
        session.run(draw, &[&drawn]).await?;
        let row = session
            .one("select value from settings where key = 'library'", &[])
            .await?;
        let library: String = get(&row, "value")?;
        Ok(library
            .parse()
            .map_err(|_| PostgresError::Damaged("the setting library".into()))?)
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> Result<(), PostgresError> {
        match self.database.session().await?.script("").await {
            Err(Failure::Database(error)) => Err(error),
            _ => Ok(()),
        }
    }
}
