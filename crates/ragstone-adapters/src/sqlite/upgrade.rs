//! The backup copy that is made of a database before an upgrade changes it.
//!
//! Invariant: a copy gets its final name only once it is complete and synced; an unfinished copy is removed by the
//! next upgrade. The copies of a database lie beside it, named `<database>.before-<version>-<time>`, where the version
//! is that of the program that upgraded.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::migrations::PendingMigrations;
use super::{SqliteError, create_private_file};

/// Separates a database's name from the label of a copy.
const MARK: &str = ".before-";
/// Suffix of a copy that is being written.
const PARTIAL: &str = ".partial";
/// Setting that holds the label of the copy while steps are run.
const LABEL: &str = "upgrade_copy";
/// Bytes that a copy leaves free on the disk, besides a tenth of its own size, because the upgrade itself needs some.
const MARGIN_BYTES: u64 = 64 << 20;

/// How copies are made; the default makes none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyPolicy {
    /// Number of copies to retain, newest first; 0 makes none.
    pub kept: usize,
    /// Version of this program and the time, such as `0.2.0-20261130T154412Z`.
    pub label: String,
}

/// What an upgrade did to a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpgradeReport {
    /// Schema number before the upgrade.
    pub from: u32,
    /// Schema number after it; an older program opens the database if both are equal.
    pub to: u32,
    /// Names of the additive steps that were run.
    pub additions: Vec<&'static str>,
    /// Path of the backup copy, if one was made.
    pub copy: Option<PathBuf>,
}

/// Copies the database of `connection` if the `pending` steps require it. A new database needs no copy. If the disk
/// has no room, additive steps run without a copy: the older program can still open the result.
pub(super) fn copy_before_upgrade(
    connection: &Connection,
    path: &Path,
    pending: &PendingMigrations,
    policy: &CopyPolicy,
) -> Result<Option<PathBuf>, SqliteError> {
    if pending.found == 0 || pending.is_empty() || policy.kept == 0 {
        return Ok(None);
    }
    let free = free_bytes(path).map_err(|source| file_error(path, source))?;
    copy_with_room(connection, path, pending, policy, free)
}

fn copy_with_room(
    connection: &Connection,
    path: &Path,
    pending: &PendingMigrations,
    policy: &CopyPolicy,
    free: u64,
) -> Result<Option<PathBuf>, SqliteError> {
    if let Some(copy) = find_unfinished_copy(connection, path)? {
        return Ok(Some(copy));
    }
    let copy = with_suffix(path, &format!("{MARK}{}", policy.label));
    let partial = with_suffix(&copy, PARTIAL);
    for (_, left) in list_copy_files(path)?
        .into_iter()
        .filter(|(name, _)| name.ends_with(PARTIAL))
    {
        fs::remove_file(&left).map_err(|source| file_error(&left, source))?;
    }
    let needed = database_bytes(connection)?;
    if free < needed + needed / 10 + MARGIN_BYTES {
        if pending.numbered_steps() == 0 {
            tracing::warn!(
                needed,
                free,
                "the disk has no room for a copy of {} before its upgrade",
                path.display()
            );
            return Ok(None);
        }
        return Err(SqliteError::NoRoomForCopy {
            path: path.to_owned(),
            needed,
            free,
        });
    }
    let finish = || fs::rename(&partial, &copy).map_err(|source| file_error(&copy, source));
    let written = write_copy(connection, &partial).and_then(|()| finish());
    if let Err(error) = written {
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    sync_folder(path).map_err(|source| file_error(path, source))?;
    prune_copies(path, policy.kept)?;
    connection.execute(
        "insert into settings (key, value) values (?1, ?2) on conflict (key) do update set value = ?2",
        [LABEL, policy.label.as_str()],
    )?;
    Ok(Some(copy))
}

/// The copy of an upgrade that was killed between two steps. It is the one to go back to: a copy of the present state
/// would have a schema that no release knows.
fn find_unfinished_copy(connection: &Connection, path: &Path) -> Result<Option<PathBuf>, SqliteError> {
    let label = connection
        .query_row("select value from settings where key = ?1", [LABEL], |row| row.get(0))
        .optional()?;
    let copy = label.map(|label: String| with_suffix(path, &format!("{MARK}{label}")));
    Ok(copy.filter(|copy| copy.exists()))
}

/// Removes the label once all steps were run.
pub(super) fn forget_label(connection: &Connection) -> Result<(), SqliteError> {
    connection.execute("delete from settings where key = ?1", [LABEL])?;
    Ok(())
}

/// Copies of the database at `path`, newest first.
pub fn list_copies(path: &Path) -> Result<Vec<PathBuf>, SqliteError> {
    let mut copies = list_copy_files(path)?;
    copies.retain(|(name, _)| !name.ends_with(PARTIAL));
    // Sorted by the time at the end of the label: versions do not sort as text.
    copies.sort_by(|(a, _), (b, _)| copy_time(b).cmp(copy_time(a)));
    Ok(copies.into_iter().map(|(_, path)| path).collect())
}

fn copy_time(name: &str) -> &str {
    name.rsplit('-').next().unwrap_or_default()
}

/// Names and paths of the files beside the database that are named like its copies.
fn list_copy_files(path: &Path) -> Result<Vec<(String, PathBuf)>, SqliteError> {
    let folder = parent_folder(path);
    let failed = |source: io::Error| file_error(folder, source);
    let prefix = format!("{}{MARK}", path.file_name().unwrap_or_default().to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

fn prune_copies(path: &Path, kept: usize) -> Result<(), SqliteError> {
    for old in list_copies(path)?.into_iter().skip(kept) {
        fs::remove_file(&old).map_err(|source| file_error(&old, source))?;
    }
    Ok(())
}

/// Writes the whole database, with its write-ahead log, to a file with mode 0600.
fn write_copy(connection: &Connection, partial: &Path) -> Result<(), SqliteError> {
    let failed = |source: io::Error| file_error(partial, source);
    create_private_file(partial).map_err(failed)?;
    connection.execute("vacuum into ?1", [partial.to_string_lossy()])?;
    File::open(partial).and_then(|file| file.sync_all()).map_err(failed)
}

fn database_bytes(connection: &Connection) -> Result<u64, SqliteError> {
    let pages: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(pages * page)
}

fn free_bytes(path: &Path) -> io::Result<u64> {
    let stats = rustix::fs::statvfs(parent_folder(path))?;
    Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
}

pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(parent_folder(path))?.sync_all()
}

fn parent_folder(path: &Path) -> &Path {
    let named = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn file_error(path: &Path, source: io::Error) -> SqliteError {
    SqliteError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
