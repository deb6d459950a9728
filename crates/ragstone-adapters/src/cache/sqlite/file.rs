//! The cache file: opening it, bounding its size, and replacing it when it is damaged.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ragstone_core::seam::embedding_cache::EmbeddingCacheError;
use rusqlite::{Connection, OpenFlags};

use super::{CacheFileError, rows, unavailable_error};
use crate::sqlite::{create_private_file, open_connection};

/// `user_version` of the layout below; a file with another version is replaced.
const LAYOUT: u32 = 1;
const SCHEMA: &str = "
    create table entries (
        id          integer primary key,
        fingerprint text not null,
        key         blob not null,
        -- The turn in which it was last used.
        used        integer not null,
        unique (fingerprint, key)
    ) strict;
    create index entries_by_use on entries (used);

    -- Apart from the entries, so that noting a use rewrites no vector. `sum` is keyed by the entry's key.
    create table embeddings (
        entry  integer primary key references entries (id) on delete cascade,
        sum    blob not null,
        vector blob not null,
        pieces blob not null,
        tokens blob
    ) strict;

    create table uses (
        document blob not null,
        entry    integer not null references entries (id) on delete cascade,
        primary key (document, entry)
    ) without rowid, strict;
    create index uses_by_entry on uses (entry);
";
/// Bytes of the write-ahead log that are kept between checkpoints.
const LOG_BYTES: i64 = 4 * 1024 * 1024;

/// An open cache file with its size limit.
pub struct CacheFile {
    path: PathBuf,
    max_bytes: u64,
    /// `None` while one file is replaced by another.
    open: Option<CacheConnection>,
}

struct CacheConnection {
    connection: Connection,
    /// Counter of calls; entries with the lowest value were not used for longest and are evicted first.
    turn: u64,
}

impl CacheFile {
    /// Opens or creates the file, and shrinks it to its limit.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, EmbeddingCacheError> {
        let mut file = Self {
            path: path.to_owned(),
            max_bytes,
            open: None,
        };
        file.run_or_rebuild(|connection, _| {
            if file_bytes(connection)? > max_bytes {
                evict_oldest(connection, max_bytes)?;
                shrink_file(connection)?;
            }
            Ok(())
        })?;
        Ok(file)
    }

    /// Runs `work` with the current turn number; if the file is damaged, runs it again on an empty one. Then shrinks
    /// the file to its limit.
    pub fn run_or_rebuild<T>(
        &mut self,
        work: impl Fn(&mut Connection, u64) -> Result<T, CacheFileError>,
    ) -> Result<T, EmbeddingCacheError> {
        match self.try_run(&work) {
            Err(failure) if failure.is_damage() => {
                tracing::warn!(path = %self.path.display(), error = %failure, "the embedding cache is damaged and begun anew");
                self.open = None;
                remove_files(&self.path)?;
                Ok(self.try_run(&work)?)
            }
            done => Ok(done?),
        }
    }

    fn try_run<T>(
        &mut self,
        work: impl Fn(&mut Connection, u64) -> Result<T, CacheFileError>,
    ) -> Result<T, CacheFileError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => open_cache_file(&self.path)?,
        };
        let CacheConnection { connection, turn } = self.open.insert(open);
        *turn += 1;
        let value = work(connection, *turn)?;
        evict_oldest(connection, self.max_bytes)?;
        Ok(value)
    }
}

/// Removes the file and its write-ahead log.
pub fn remove_files(path: &Path) -> Result<(), EmbeddingCacheError> {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(unavailable_error(format!("cannot remove {}: {error}", path.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

fn open_cache_file(path: &Path) -> Result<CacheConnection, CacheFileError> {
    create_private_file(path).map_err(|_| {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        rusqlite::Error::SqliteFailure(code, Some(format!("cannot use {}", path.display())))
    })?;
    let mut connection = open_connection(path, OpenFlags::default())?;
    // Must come first: `auto_vacuum` has an effect only in a file without tables.
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "off")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    match connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? {
        LAYOUT => {}
        0 => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", LAYOUT)?;
            transaction.commit()?;
        }
        _ => return Err(CacheFileError::Damaged("another version of this program made it")),
    }
    let turn = rows::last_turn(&connection)?;
    Ok(CacheConnection { connection, turn })
}

/// Removes the least recently used entries until the pages in use are within `max_bytes`.
fn evict_oldest(connection: &mut Connection, max_bytes: u64) -> Result<(), CacheFileError> {
    while used_bytes(connection)? > max_bytes {
        if rows::remove_oldest(connection)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Returns free pages to the file system, one per step.
fn shrink_file(connection: &Connection) -> Result<(), CacheFileError> {
    let mut statement = connection.prepare("pragma incremental_vacuum")?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn used_bytes(connection: &Connection) -> Result<u64, CacheFileError> {
    let free = read_pragma(connection, "freelist_count")? * read_pragma(connection, "page_size")?;
    Ok(file_bytes(connection)?.saturating_sub(free))
}

fn file_bytes(connection: &Connection) -> Result<u64, CacheFileError> {
    Ok(read_pragma(connection, "page_count")? * read_pragma(connection, "page_size")?)
}

fn read_pragma(connection: &Connection, pragma: &str) -> Result<u64, CacheFileError> {
    Ok(connection.pragma_query_value(None, pragma, |row| row.get(0))?)
}
