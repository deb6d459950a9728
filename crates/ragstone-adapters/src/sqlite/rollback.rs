//! Undoes an upgrade: the backup copy from before takes the database's place.
//!
//! Invariant: the newer database is moved aside and never removed, and there is no moment without a database. The
//! caller holds the data directory's lock.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::upgrade::{file_error, list_copies, sync_folder, with_suffix};
use super::{BUSY_TIMEOUT, SqliteError};

/// Separates a database's name from the label of one that was moved aside.
const MARK: &str = ".after-";

/// What a rollback would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackPlan {
    /// No copy is older than the database's schema.
    NoCopy,
    /// The newest copy has the database's schema, so an older program opens the database as it is.
    SameSchema {
        /// Schema number of both.
        schema: u32,
        /// Additive steps that were run since the copy was made.
        additions: Vec<String>,
    },
    /// The copy can take the database's place.
    Copy {
        /// Path of the copy.
        copy: PathBuf,
        /// Schema number of the copy.
        from: u32,
        /// Schema number of the database.
        to: u32,
        /// Changes since the copy was made; `None` if they cannot be determined.
        changed: Option<ChangedSince>,
    },
}

/// Changes since a copy was made, which a rollback loses or reverts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ChangedSince {
    /// Documents that were added: they are lost.
    pub added: u64,
    /// Documents with another text, metadata or readers: they are reverted.
    pub changed: u64,
    /// Documents that were deleted: they come back, though their originals may be gone.
    pub deleted: u64,
    /// API keys that were created: they are lost.
    pub keys_added: u64,
    /// API keys that were revoked: they become valid again.
    pub keys_revoked: u64,
}

impl ChangedSince {
    /// Whether nothing has changed.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Determines what a rollback of the last upgrade of the database at `path` would do; changes nothing.
pub fn plan_rollback(path: &Path) -> Result<RollbackPlan, SqliteError> {
    let database = open_existing(path)?;
    let to = schema_version(&database)?;
    let mut same = None;
    for copy in list_copies(path)? {
        let from = schema_version(&open_existing(&copy)?)?;
        if from < to {
            let changed = count_changes(&database, &copy).ok();
            return Ok(RollbackPlan::Copy {
                copy,
                from,
                to,
                changed,
            });
        }
        same = same.or((from == to).then_some(copy));
    }
    match same {
        None => Ok(RollbackPlan::NoCopy),
        Some(copy) => {
            let (now, before) = (list_additions(&database)?, list_additions(&open_existing(&copy)?)?);
            let additions = now.into_iter().filter(|name| !before.contains(name)).collect();
            Ok(RollbackPlan::SameSchema { schema: to, additions })
        }
    }
}

/// Replaces the database at `path` by `copy`. The old one is moved aside under a name with `label`, which is returned.
pub fn restore_copy(path: &Path, copy: &Path, label: &str) -> Result<PathBuf, SqliteError> {
    let aside = with_suffix(path, &format!("{MARK}{label}"));
    raise_counters(copy, path)?;
    // Checkpoint the write-ahead log, so that the file alone is the whole database.
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let busy: bool = connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))?;
    if busy {
        let busy = std::io::Error::other("another process reads it");
        return Err(file_error(path, busy));
    }
    drop(connection);
    // The file has two names for a moment, so that a crash here leaves a database under either name.
    fs::hard_link(path, &aside).map_err(|source| file_error(&aside, source))?;
    for suffix in ["-wal", "-shm"] {
        match fs::remove_file(with_suffix(path, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file_error(path, error));
            }
            _ => {}
        }
    }
    fs::rename(copy, path).map_err(|source| file_error(path, source))?;
    sync_folder(path).map_err(|source| file_error(path, source))?;
    Ok(aside)
}

/// Raises the counters of `copy` to those of `newer`. Numbers drawn since the copy was made must not be drawn again:
/// existing blobs are named after them, and the blob store's marker records how far the library had come.
fn raise_counters(copy: &Path, newer: &Path) -> Result<(), SqliteError> {
    let connection = open_existing(copy)?;
    connection.execute("attach ?1 as newer", [newer.to_string_lossy()])?;
    connection.execute(
        "update main.counters set value = max(value, coalesce(
             (select value from newer.counters n where n.name = main.counters.name), 0))",
        [],
    )?;
    connection.execute("detach newer", [])?;
    Ok(())
}

fn open_existing(path: &Path) -> Result<Connection, SqliteError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn schema_version(connection: &Connection) -> Result<u32, SqliteError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn list_additions(connection: &Connection) -> Result<Vec<String>, SqliteError> {
    let has_table = "select exists (select 1 from sqlite_master where name = 'schema_additions')";
    if !connection.query_row(has_table, [], |row| row.get(0))? {
        return Ok(Vec::new());
    }
    let mut names = connection.prepare("select name from schema_additions order by name")?;
    let names = names.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn count_changes(database: &Connection, copy: &Path) -> Result<ChangedSince, SqliteError> {
    database.execute("attach ?1 as before", [copy.to_string_lossy()])?;
    let count = |query: &str| database.query_row(query, [], |row| row.get(0));
    let counted = || {
        Ok(ChangedSince {
            added: count(
                "select count(*) from main.documents now where now.status <> 'deleting'
                 and not exists (select 1 from before.documents b where b.id = now.id)",
            )?,
            changed: count(
                "select count(*) from main.documents now join before.documents b on b.id = now.id
                 where now.status <> 'deleting' and b.status <> 'deleting'
                 and (now.published is not b.published or now.stored is not b.stored or now.acl_revision <> b.acl_revision
                      or now.metadata <> b.metadata or now.given_title is not b.given_title
                      or now.source_url is not b.source_url)",
            )?,
            deleted: count(
                "select count(*) from before.documents b where b.status <> 'deleting'
                 and not exists (select 1 from main.documents now where now.id = b.id and now.status <> 'deleting')",
            )?,
            keys_added: count(
                "select count(*) from main.api_keys now
                 where not exists (select 1 from before.api_keys b where b.id = now.id)",
            )?,
            keys_revoked: count(
                "select count(*) from main.api_keys now join before.api_keys b on b.id = now.id
                 where now.revoked_at is not null and b.revoked_at is null",
            )?,
        })
    };
    let changed: Result<_, rusqlite::Error> = counted();
    database.execute("detach before", [])?;
    Ok(changed?)
}

#[cfg(test)]
mod tests;
