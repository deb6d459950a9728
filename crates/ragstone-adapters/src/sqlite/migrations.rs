//! The schema and how an older database gets it.
//!
//! Invariant: a step that was released is never edited; `user_version` counts the steps that were run.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::DatabaseError;

/// In order; the n-th brings `user_version` from n-1 to n.
const STEPS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
];

/// Runs the steps that `connection`'s database lacks, each in a transaction.
pub fn run(connection: &mut Connection, path: &Path) -> Result<(), DatabaseError> {
    let known = STEPS.len() as u32;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(DatabaseError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (number, step) in (1u32..).zip(STEPS).skip(found as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
