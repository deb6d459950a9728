//! Connections, and transactions on them.
//!
//! Invariant: a connection returns to the pool only outside a transaction; if the caller is cancelled inside one, the
//! connection is closed, which rolls it back.

use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};

use super::error::{PostgresError, PostgresTransactionError};
use super::options::PostgresOptions;

/// How often a transaction is retried after a race (serialization failure or the like).
pub const MAX_RACES: u32 = 6;
/// Wait before the first retry; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(4);

/// Parameters of a statement.
pub type StatementValues<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Kind of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionMode {
    /// Writes; the commit waits for the disk.
    Synced,
    /// Writes without waiting for the disk: a crash of the server may lose it, together with all that came after.
    Ordered,
    /// Reads; all statements see one snapshot.
    Snapshot,
}

/// Runs a transaction and retries it after a race; `$work` is evaluated for each try.
macro_rules! transact {
    ($database:expr, $mode:expr, |$t:ident| $work:expr) => {{
        let mut races = 0;
        loop {
            let $t = $database.begin($mode).await?;
            let done = $work.await;
            match $t.end(done).await {
                Err(failure) if failure.is_race() && races < $crate::catalogue::postgres::database::MAX_RACES => {
                    $crate::catalogue::postgres::database::back_off(races).await;
                    races += 1;
                }
                done => break done,
            }
        }
    }};
}
pub(super) use transact;

/// Waits before a retry, so that the winner of a race can finish.
pub async fn back_off(races: u32) {
    tokio::time::sleep(FIRST_WAIT * 2u32.pow(races.min(MAX_RACES))).await;
}

/// The connection pool of one process.
#[derive(Clone)]
pub struct PostgresDatabase {
    pool: Pool,
}

impl PostgresDatabase {
    /// A pool that connects at first use.
    pub fn new(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let config = options.tuned_config();
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        // Not sent as startup parameters, because connection poolers refuse those that they do not know.
        let settings = format!(
            "set statement_timeout = {0}; set idle_in_transaction_session_timeout = {0};
             set default_transaction_isolation = 'read committed'",
            options.statement_timeout.as_millis()
        );
        let prepare = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let settings = settings.clone();
            Box::pin(async move { client.batch_execute(&settings).await.map_err(HookError::Backend) })
        });
        let manager = match options.tls_connector()? {
            Some(tls) => Manager::from_config(config, tls, recycling),
            None => Manager::from_config(config, NoTls, recycling),
        };
        let pool = Pool::builder(manager)
            .max_size(options.pool_size.max(1))
            .wait_timeout(Some(options.connect_timeout))
            .create_timeout(Some(options.connect_timeout))
            .recycle_timeout(Some(options.connect_timeout))
            .runtime(Runtime::Tokio1)
            .post_create(prepare)
            .build()
            .map_err(|error| PostgresError::NoConnection(error.to_string()))?;
        Ok(Self { pool })
    }

    /// A connection for single statements outside a transaction.
    pub async fn open_session(&self) -> Result<PostgresSession, PostgresError> {
        use deadpool_postgres::{PoolError, TimeoutType};
        let connection = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error.into(),
            PoolError::Timeout(TimeoutType::Wait) => PostgresError::NoConnection("all of the pool are in use".into()),
            other => PostgresError::NoConnection(other.to_string()),
        })?;
        Ok(PostgresSession {
            connection: Some(connection),
            is_open: false,
        })
    }

    /// A connection inside a transaction, which [`PostgresSession::end`] ends.
    pub async fn begin(&self, mode: TransactionMode) -> Result<PostgresSession, PostgresError> {
        let mut session = self.open_session().await?;
        session.is_open = true;
        let begin = match mode {
            TransactionMode::Synced => "begin",
            TransactionMode::Ordered => "begin; set local synchronous_commit = off",
            TransactionMode::Snapshot => "begin isolation level repeatable read, read only",
        };
        session.pooled_client()?.batch_execute(begin).await?;
        Ok(session)
    }
}

/// A connection taken from the pool.
pub struct PostgresSession {
    connection: Option<Object>,
    is_open: bool,
}

impl PostgresSession {
    fn pooled_client(&self) -> Result<&Object, PostgresError> {
        let gone = || PostgresError::NoConnection("it was closed".into());
        self.connection.as_ref().ok_or_else(gone)
    }

    /// Commits if `done` is `Ok`, else rolls back.
    pub async fn end<T>(mut self, done: Result<T, PostgresTransactionError>) -> Result<T, PostgresTransactionError> {
        let word = match done {
            Ok(_) => "commit",
            Err(_) => "rollback",
        };
        let ended = self.pooled_client()?.batch_execute(word).await;
        self.is_open = ended.is_err();
        let value = done?;
        ended?;
        Ok(value)
    }

    /// Runs SQL statements without parameters.
    pub async fn run_script(&self, statements: &str) -> Result<(), PostgresTransactionError> {
        Ok(self.pooled_client()?.batch_execute(statements).await?)
    }

    /// Returns all rows of a query.
    pub async fn query_all(
        &self,
        query: &str,
        values: StatementValues<'_>,
    ) -> Result<Vec<Row>, PostgresTransactionError> {
        let client = self.pooled_client()?;
        let statement = client.prepare_cached(query).await?;
        Ok(client.query(&statement, values).await?)
    }

    /// Returns the first row of a query.
    pub async fn query_first(
        &self,
        query: &str,
        values: StatementValues<'_>,
    ) -> Result<Option<Row>, PostgresTransactionError> {
        Ok(self.query_all(query, values).await?.into_iter().next())
    }

    /// Returns the only row of a query.
    pub async fn query_one(&self, query: &str, values: StatementValues<'_>) -> Result<Row, PostgresTransactionError> {
        let found = self.query_first(query, values).await?;
        let missing = || PostgresError::Damaged(format!("no row: {query}"));
        Ok(found.ok_or_else(missing)?)
    }

    /// Runs a statement; returns the number of affected rows.
    pub async fn execute_statement(
        &self,
        statement: &str,
        values: StatementValues<'_>,
    ) -> Result<u64, PostgresTransactionError> {
        let client = self.pooled_client()?;
        let statement = client.prepare_cached(statement).await?;
        Ok(client.execute(&statement, values).await?)
    }
}

impl Drop for PostgresSession {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.is_open) {
            drop(Object::take(connection));
        }
    }
}
