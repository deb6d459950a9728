//! The schema, and the migration of older databases to it.
//!
//! The list has two kinds of steps. A *numbered* step changes something that an older program relies on: it raises
//! `user_version`, and an older program refuses the database. An *additive* step only adds what an older program does
//! not see (tables, indexes, columns that may be null or have a default): it is recorded by name in `schema_additions`
//! and leaves `user_version` alone, so that an upgrade can be undone by starting the older program.
//!
//! Invariant: a released step is never edited, renamed or moved; a row that an older program wrote after an additive
//! step has the new columns at their default, and that default is the safe meaning.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::SqliteError;

/// One step of a schema migration.
#[derive(Debug, Clone, Copy)]
enum SqliteMigrationStep {
    /// Raises `user_version` by one.
    Numbered(&'static str),
    /// Recorded by its name; leaves `user_version` alone.
    Additive { name: &'static str, script: &'static str },
}

use SqliteMigrationStep::{Additive, Numbered};

/// All steps in order. An additive step comes after the numbered step whose tables it needs.
const STEPS: &[SqliteMigrationStep] = &[
    Numbered(include_str!("schema_1.sql")),
    Numbered(include_str!("schema_2.sql")),
    Numbered(include_str!("schema_3.sql")),
    Numbered(include_str!("schema_4.sql")),
    Numbered(include_str!("schema_5.sql")),
    Numbered(include_str!("schema_6.sql")),
    Numbered(include_str!("schema_7.sql")),
    Numbered(include_str!("schema_8.sql")),
    Numbered(include_str!("schema_9.sql")),
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

/// Steps that a database lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingMigrations {
    /// Schema number of the database; 0 for a new one.
    pub found: u32,
    /// Newest schema number of this program.
    pub known: u32,
    /// Names of the missing additive steps.
    pub additions: Vec<&'static str>,
}

impl PendingMigrations {
    /// Number of numbered steps to run.
    pub fn numbered_steps(&self) -> u32 {
        self.known.saturating_sub(self.found)
    }

    /// Whether the schema is up to date.
    pub fn is_empty(&self) -> bool {
        self.numbered_steps() == 0 && self.additions.is_empty()
    }
}

/// Finds the steps that `connection`'s database lacks; refuses a database of a later program.
pub fn find_pending(connection: &Connection, path: &Path) -> Result<PendingMigrations, SqliteError> {
    let (found, known) = (schema_version(connection)?, count_numbered(STEPS));
    if found > known {
        return Err(newer_schema_error(path, found, known));
    }
    let has_table = "select exists (select 1 from sqlite_master where name = 'schema_additions')";
    let recorded: bool = connection.query_row(has_table, [], |row| row.get(0))?;
    let mut additions = Vec::new();
    for step in STEPS {
        if let Additive { name, .. } = step
            && !(recorded && is_recorded(connection, name)?)
        {
            additions.push(*name);
        }
    }
    Ok(PendingMigrations {
        found,
        known,
        additions,
    })
}

fn count_numbered(steps: &[SqliteMigrationStep]) -> u32 {
    steps.iter().filter(|step| matches!(step, Numbered(_))).count() as u32
}

fn schema_version(connection: &Connection) -> Result<u32, SqliteError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn newer_schema_error(path: &Path, found: u32, known: u32) -> SqliteError {
    SqliteError::Newer {
        path: path.to_owned(),
        found,
        known,
    }
}

fn is_recorded(connection: &Connection, name: &str) -> Result<bool, SqliteError> {
    let recorded = "select exists (select 1 from schema_additions where name = ?1)";
    Ok(connection.query_row(recorded, [name], |row| row.get(0))?)
}

/// Runs the missing steps, each in a transaction of its own.
pub fn run_migrations(connection: &mut Connection, path: &Path) -> Result<(), SqliteError> {
    run_steps(connection, path, STEPS)
}

fn run_steps(connection: &mut Connection, path: &Path, steps: &[SqliteMigrationStep]) -> Result<(), SqliteError> {
    let (found, known) = (schema_version(connection)?, count_numbered(steps));
    if found > known {
        return Err(newer_schema_error(path, found, known));
    }
    let mut number = 0;
    for step in steps {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match step {
            Numbered(script) => {
                number += 1;
                if number > found {
                    transaction.execute_batch(script)?;
                    transaction.pragma_update(None, "user_version", number)?;
                }
            }
            Additive { name, script } => apply_addition(&transaction, name, script)?,
        }
        transaction.commit()?;
    }
    Ok(())
}

fn apply_addition(transaction: &Transaction<'_>, name: &str, script: &str) -> Result<(), SqliteError> {
    transaction
        .execute_batch("create table if not exists schema_additions (name text primary key) without rowid, strict")?;
    if !is_recorded(transaction, name)? {
        transaction.execute_batch(script)?;
        transaction.execute("insert into schema_additions (name) values (?1)", [name])?;
    }
    Ok(())
}

#[cfg(test)]
pub mod testing {
    //! Databases as older programs left them.

    use super::*;
    use crate::sqlite::{create_private_file, open_connection};
    use rusqlite::OpenFlags;

    /// Newest schema number of this program.
    pub fn newest() -> u32 {
        count_numbered(STEPS)
    }

    /// Creates a database file of that schema number, without additive steps.
    pub fn at_schema(path: &Path, schema: u32) -> Connection {
        create_private_file(path).unwrap();
        let mut connection = open_connection(path, OpenFlags::default()).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        let numbered = STEPS.iter().filter(|step| matches!(step, Numbered(_)));
        let steps: Vec<SqliteMigrationStep> = numbered.take(schema as usize).copied().collect();
        run_steps(&mut connection, path, &steps).unwrap();
        connection
    }
}

#[cfg(test)]
mod tests;
