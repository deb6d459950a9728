//! The schema, and the migration of older databases to it.
//!
//! The list has two kinds of steps. A *numbered* step raises the number in `ragstone_schema`, and an older program
//! refuses the database. An *additive* step only adds what an older program does not see (tables, indexes, columns
//! that may be null or have a default): it is recorded by name in `ragstone_schema_additions`, so that an upgrade can
//! be undone by starting the older program, and old and new processes can run side by side.
//!
//! Invariant: a released step is never edited, renamed or moved, and retains what the previous release needs while it
//! still runs beside the new one. Processes that start at once are serialised by an advisory lock: the first runs the
//! steps, the others find them done.

use super::database::{PostgresDatabase, PostgresSession, TransactionMode, transact};
use super::error::{PostgresError, PostgresTransactionError};
use super::row::get_number;

/// One step of a schema migration.
#[derive(Debug, Clone, Copy)]
enum PostgresMigrationStep {
    /// Raises the schema number by one.
    Numbered(&'static str),
    /// Recorded by its name; leaves the schema number alone.
    Additive { name: &'static str, script: &'static str },
}

use PostgresMigrationStep::{Additive, Numbered};

/// All steps in order. An additive step comes after the numbered step whose tables it needs.
const STEPS: &[PostgresMigrationStep] = &[
    Numbered(include_str!("schema_1.sql")),
    Numbered(include_str!("schema_2.sql")),
    Numbered(include_str!("schema_3.sql")),
    Numbered(include_str!("schema_4.sql")),
    Numbered(include_str!("schema_5.sql")),
    Numbered(include_str!("schema_6.sql")),
    Additive {
        name: "ended_jobs_by_age",
        script: include_str!("additions/ended_jobs_by_age.sql"),
    },
    Additive {
        name: "suspects",
        script: include_str!("additions/suspects.sql"),
    },
    Additive {
        name: "documents_brought_by",
        script: include_str!("additions/documents_brought_by.sql"),
    },
    Additive {
        name: "documents_with_error",
        script: include_str!("additions/documents_with_error.sql"),
    },
];
/// First half of the advisory lock's key ("rags"); the second half depends on the schema, so that installations in one
/// database do not wait for each other.
const LOCK: i32 = i32::from_be_bytes(*b"rags");
/// Time limit for all steps, including the wait for another process that runs them.
const MIGRATION_TIMEOUTS: &str =
    "set local statement_timeout = '15min'; set local idle_in_transaction_session_timeout = '15min'";

/// Runs the missing steps in one transaction.
pub async fn run_migrations(database: &PostgresDatabase) -> Result<(), PostgresTransactionError> {
    transact!(database, TransactionMode::Synced, |t| run_steps(&t, STEPS))
}

async fn run_steps(t: &PostgresSession, steps: &[PostgresMigrationStep]) -> Result<(), PostgresTransactionError> {
    t.run_script(MIGRATION_TIMEOUTS).await?;
    t.execute_statement("select pg_advisory_xact_lock($1, hashtext(current_schema()))", &[&LOCK])
        .await?;
    t.run_script("create table if not exists ragstone_schema (version bigint not null)")
        .await?;
    let known = steps.iter().filter(|step| matches!(step, Numbered(_))).count() as u32;
    let found: u32 = match t.query_first("select version from ragstone_schema", &[]).await? {
        Some(row) => get_number(&row, "version")?,
        None => {
            t.execute_statement("insert into ragstone_schema values (0)", &[])
                .await?;
            0
        }
    };
    if found > known {
        return Err(PostgresError::Newer { found, known }.into());
    }
    let (mut number, mut additions) = (0, Vec::new());
    for step in steps {
        match step {
            Numbered(script) => {
                number += 1;
                if number > found {
                    t.run_script(script).await?;
                }
            }
            Additive { name, script } => {
                if apply_addition(t, name, script).await? {
                    additions.push(*name);
                }
            }
        }
    }
    t.execute_statement("update ragstone_schema set version = $1", &[&i64::from(known)])
        .await?;
    if found > 0 && (found < known || !additions.is_empty()) {
        tracing::info!(
            from = found,
            to = known,
            ?additions,
            "the schema of the database was upgraded"
        );
    }
    Ok(())
}

/// Runs an additive step if it is missing; returns whether it was.
async fn apply_addition(t: &PostgresSession, name: &str, script: &str) -> Result<bool, PostgresTransactionError> {
    t.run_script("create table if not exists ragstone_schema_additions (name text primary key)")
        .await?;
    let known = "select name from ragstone_schema_additions where name = $1";
    if t.query_first(known, &[&name]).await?.is_some() {
        return Ok(false);
    }
    t.run_script(script).await?;
    t.execute_statement("insert into ragstone_schema_additions (name) values ($1)", &[&name])
        .await?;
    Ok(true)
}
