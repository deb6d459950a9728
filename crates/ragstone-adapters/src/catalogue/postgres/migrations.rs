//! The schema and how an older database gets it.
//!
//! Invariant: a step that was released is never edited, and leaves what the release before it needs while it still runs
//! beside the new one; the row of `ragstone_schema` counts the steps that were run. Processes that start at once take
//! turns by an advisory lock: the first runs the steps, the others find them done.

use super::database::{Database, Mode, Session, transact};
use super::error::{Failure, PostgresError};
use super::row::number;

/// In order; the n-th brings the schema from n-1 to n.
const STEPS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
];
/// First half of the lock's key ("rags"); the other one is of the PostgreSQL schema, so that several installations in
/// one database do not wait for each other.
const LOCK: i32 = i32::from_be_bytes(*b"rags");
/// How long all the steps, and the wait for another process that runs them, may take.
const PATIENCE: &str =
    "set local statement_timeout = '15min'; set local idle_in_transaction_session_timeout = '15min'";

/// Runs the steps that the database lacks, all in one transaction.
pub async fn run(database: &Database) -> Result<(), Failure> {
    transact!(database, Mode::Synced, |t| steps(&t))
}

async fn steps(t: &Session) -> Result<(), Failure> {
    t.script(PATIENCE).await?;
    t.run(
        "select pg_advisory_xact_lock($1, hashtext(current_schema()))",
        &[&LOCK],
    )
    .await?;
    t.script("create table if not exists ragstone_schema (version bigint not null)")
        .await?;
    let known = STEPS.len() as u32;
    let found: u32 = match t.first("select version from ragstone_schema", &[]).await? {
        Some(row) => number(&row, "version")?,
        None => {
            t.run("insert into ragstone_schema values (0)", &[]).await?;
            0
        }
    };
    if found > known {
        return Err(PostgresError::Newer { found, known }.into());
    }
    for step in STEPS.iter().skip(found as usize) {
        t.script(step).await?;
    }
    t.run("update ragstone_schema set version = $1", &[&i64::from(known)])
        .await?;
    Ok(())
}
