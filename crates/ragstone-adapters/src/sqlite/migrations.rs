//! The schema and how an older database gets it.
//!
//! Two kinds of steps stand in one list. A *numbered* step changes what an older program relies on: it raises
//! `user_version`, and an older program refuses the database. An *additive* step only brings what an older program
//! does not see (tables, indexes, columns that may be null or have a default): it is recorded by name in
//! `schema_additions` and leaves `user_version` alone, so that an upgrade can be undone by starting the older program.
//!
//! Invariant: a step that was released is never edited, renamed or moved; a row that an older program wrote after an
//! additive step has the new columns at their default, and that default is the safe meaning.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::DatabaseError;

/// One change of the schema.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Raises `user_version` by one.
    Numbered(&'static str),
    /// Is recorded by its name.
    Additive {
        name: &'static str,
        script: &'static str,
    },
}

use Step::{Additive, Numbered};

/// In order. Additive steps come after the numbered step whose tables they need.
const STEPS: &[Step] = &[
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
        name: "documents_brought_by",
        script: include_str!("additions/documents_brought_by.sql"),
    },
];

/// Runs the steps that `connection`'s database lacks, each in a transaction.
pub fn run(connection: &mut Connection, path: &Path) -> Result<(), DatabaseError> {
    run_steps(connection, path, STEPS)
}

fn run_steps(connection: &mut Connection, path: &Path, steps: &[Step]) -> Result<(), DatabaseError> {
    let known = steps.iter().filter(|step| matches!(step, Numbered(_))).count() as u32;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(DatabaseError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
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
            Additive { name, script } => add_once(&transaction, name, script)?,
        }
        transaction.commit()?;
    }
    Ok(())
}

fn add_once(transaction: &Transaction<'_>, name: &str, script: &str) -> Result<(), DatabaseError> {
    transaction.execute_batch(
        "create table if not exists schema_additions (name text primary key) without rowid, strict",
    )?;
    let known = "select 1 from schema_additions where name = ?1";
    let is_there = transaction.query_row(known, [name], |_| Ok(())).optional()?;
    if is_there.is_none() {
        transaction.execute_batch(script)?;
        transaction.execute("insert into schema_additions (name) values (?1)", [name])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
