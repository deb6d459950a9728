//! The one SQLite database of a data directory, shared by the catalogue and the embedded index.
//!
//! Invariant: there is one writing connection, used by one short `BEGIN IMMEDIATE` transaction at a time, which
//! waiting writes share (`group`); readers have connections of their own and never wait for it. `kill -9` loses
//! nothing that was committed. Power loss loses nothing that was committed as [`Durability::Synced`];
//! [`Durability::Ordered`] commits are synced with the next synced one (the write-ahead log is one file), so a
//! published version never refers to points that were lost. A write can use the room that the disk reserve holds for
//! it.

mod document_access;
mod error;
mod group;
mod migrations;
pub mod rollback;
pub mod upgrade;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ragstone_core::id::DocumentId;
use ragstone_core::seam::catalogue::DocumentAccess;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::disk_reserve::DiskReserve;
use document_access::AccessCache;
pub use error::SqliteError;
use upgrade::{CopyPolicy, UpgradeReport};

/// How long a connection waits for a lock of another process.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle reading connections in the pool; further ones are opened for the moment when more reads run at once.
const MAX_IDLE_READERS: usize = 4;
/// Page cache of a connection, in KiB.
const CACHE_KIB: i64 = 4_096;
/// Pages of the write-ahead log after which a commit moves them into the database.
const CHECKPOINT_PAGES: i64 = 4_000;
/// Bytes of the write-ahead log that are kept between checkpoints.
const LOG_BYTES: i64 = 4 * 1024 * 1024;
/// Prepared statements cached per connection.
const STATEMENTS: usize = 128;

/// When a commit returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the disk has synced it: an acknowledged commit survives power loss.
    Synced,
    /// Without a sync: survives `kill -9`, and power loss only once a later synced commit is done.
    Ordered,
}

/// Number of commits since the database was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitCounts {
    /// Commits of both kinds.
    pub all: u64,
    /// Commits that were synced.
    pub synced: u64,
}

/// A handle to the database; clones share it.
#[derive(Debug, Clone)]
pub struct SqliteDatabase {
    shared: Arc<SqliteDatabaseState>,
}

#[derive(Debug)]
struct SqliteDatabaseState {
    /// `None` for a database in memory, which lives in the writer's connection alone.
    path: Option<PathBuf>,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    access: AccessCache,
    queue: group::WriteQueue,
    /// Whether the writer's connection is set to sync; changed only while the writer is locked.
    syncs: AtomicBool,
    commits: AtomicU64,
    synced_commits: AtomicU64,
    /// Reserve of the disk that the file lies on, if there is one.
    reserve: Option<DiskReserve>,
}

impl SqliteDatabase {
    /// Opens or creates the database file with mode 0600, and migrates it to the newest schema without a backup copy.
    /// Blocks.
    pub fn open(path: &Path) -> Result<Self, SqliteError> {
        Ok(Self::open_upgrading(path, None, &CopyPolicy::default())?.0)
    }

    /// Like [`Self::open`], on a disk with a reserve. Blocks.
    pub fn open_with_reserve(path: &Path, reserve: DiskReserve) -> Result<Self, SqliteError> {
        Ok(Self::open_upgrading(path, Some(reserve), &CopyPolicy::default())?.0)
    }

    /// Like [`Self::open`], with an optional reserve, and with a backup copy of an older database before it is
    /// migrated; reports what was migrated, if anything. Blocks while the copy is made.
    pub fn open_upgrading(
        path: &Path,
        reserve: Option<DiskReserve>,
        copies: &CopyPolicy,
    ) -> Result<(Self, Option<UpgradeReport>), SqliteError> {
        if let Some(reserve) = &reserve {
            reserve.before_write();
        }
        create_private_file(path).map_err(|source| SqliteError::File {
            path: path.to_owned(),
            source,
        })?;
        let mut writer = open_connection(path, OpenFlags::default())?;
        writer.pragma_update(None, "journal_mode", "wal")?;
        writer.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        writer.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        let pending = migrations::find_pending(&writer, path)?;
        let copy = upgrade::copy_before_upgrade(&writer, path, &pending, copies)?;
        migrations::run_migrations(&mut writer, path)?;
        if copy.is_some() {
            upgrade::forget_label(&writer)?;
        }
        let upgrade = (pending.found > 0 && !pending.is_empty()).then_some(UpgradeReport {
            from: pending.found,
            to: pending.known,
            additions: pending.additions,
            copy,
        });
        Ok((Self::new(Some(path.to_owned()), writer, reserve)?, upgrade))
    }

    /// A database in memory for tests; it ends with its last handle.
    pub fn in_memory() -> Result<Self, SqliteError> {
        let mut writer = Connection::open_in_memory()?;
        configure_connection(&writer)?;
        migrations::run_migrations(&mut writer, Path::new(":memory:"))?;
        Self::new(None, writer, None)
    }

    fn new(path: Option<PathBuf>, writer: Connection, reserve: Option<DiskReserve>) -> Result<Self, SqliteError> {
        document_access::track_touched(&writer)?;
        Ok(Self {
            shared: Arc::new(SqliteDatabaseState {
                path,
                writer: Mutex::new(writer),
                readers: Mutex::default(),
                access: AccessCache::default(),
                queue: group::WriteQueue::default(),
                syncs: AtomicBool::new(true),
                commits: AtomicU64::new(0),
                synced_commits: AtomicU64::new(0),
                reserve,
            }),
        })
    }

    /// Checks that the whole file is readable and intact. A truncated file is often not noticed until the missing part
    /// is needed.
    pub async fn is_sound(&self) -> Result<bool, SqliteError> {
        let found = self.read(|c| {
            let found: String = c.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
            Ok::<_, SqliteError>(found)
        });
        match found.await {
            Ok(found) => Ok(found == "ok"),
            Err(error) if error.is_damaged() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Runs `work` in one transaction, and commits it if the result is `Ok`. Blocks.
    pub fn write_blocking<T, E: From<SqliteError>>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write_blocking_then(durability, work, |_| {})
    }

    /// Like [`Self::write_blocking`]; calls `follow` after the commit and before any other transaction begins. Blocks.
    pub fn write_blocking_then<T, E: From<SqliteError>>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
        follow: impl FnOnce(&mut T),
    ) -> Result<T, E> {
        let mut connection = lock_mutex(&self.shared.writer);
        let transaction = self.begin_transaction(&mut connection, durability)?;
        let mut value = work(&transaction)?;
        self.commit_transaction(transaction, durability)?;
        follow(&mut value);
        Ok(value)
    }

    fn begin_transaction<'a>(
        &self,
        writer: &'a mut Connection,
        durability: Durability,
    ) -> Result<Transaction<'a>, SqliteError> {
        if let Some(reserve) = &self.shared.reserve {
            reserve.before_write();
        }
        let syncs = durability == Durability::Synced;
        if self.shared.syncs.load(Ordering::Relaxed) != syncs {
            writer.pragma_update(None, "synchronous", if syncs { "full" } else { "normal" })?;
            self.shared.syncs.store(syncs, Ordering::Relaxed);
        }
        writer
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| self.note_disk_full(error.into()))
    }

    fn commit_transaction(&self, transaction: Transaction<'_>, durability: Durability) -> Result<(), SqliteError> {
        let touched = document_access::take_touched(&transaction)?;
        transaction
            .commit()
            .map_err(|error| self.note_disk_full(error.into()))?;
        self.shared.access.apply_commit(touched);
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        if durability == Durability::Synced {
            self.shared.synced_commits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Number of commits since the database was opened.
    pub fn commit_counts(&self) -> CommitCounts {
        CommitCounts {
            all: self.shared.commits.load(Ordering::Relaxed),
            synced: self.shared.synced_commits.load(Ordering::Relaxed),
        }
    }

    /// Access data of those of `documents` that are not tombstoned, from memory; the first call reads all rows. Blocks
    /// only then.
    pub fn get_document_access_blocking(&self, documents: &[DocumentId]) -> Result<Vec<DocumentAccess>, SqliteError> {
        loop {
            if let Some(found) = self.shared.access.get(documents) {
                return Ok(found);
            }
            self.shared.access.load_rows(&lock_mutex(&self.shared.writer))?;
        }
    }

    /// Like [`Self::get_document_access_blocking`], off the caller's thread if it blocks.
    pub async fn get_document_access(&self, documents: &[DocumentId]) -> Result<Vec<DocumentAccess>, SqliteError> {
        if let Some(found) = self.shared.access.get(documents) {
            return Ok(found);
        }
        let (database, documents) = (self.clone(), documents.to_vec());
        run_blocking(move || database.get_document_access_blocking(&documents)).await
    }

    fn note_disk_full(&self, error: SqliteError) -> SqliteError {
        if let Some(reserve) = self.shared.reserve.as_ref().filter(|_| error.is_full()) {
            reserve.note_disk_full();
        }
        error
    }

    /// Whether the disk has room for new content of about `bytes` bytes.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.shared
            .reserve
            .as_ref()
            .is_none_or(|reserve| reserve.has_room_for(bytes))
    }

    /// Moves the write-ahead log into the database and truncates it, as far as no reader needs it. Blocks.
    pub fn truncate_log(&self) -> Result<(), SqliteError> {
        let connection = lock_mutex(&self.shared.writer);
        connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Runs `work` on a reading connection; each statement sees one state of the database. Blocks.
    pub fn read_blocking<T, E: From<SqliteError>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(path) = &self.shared.path else {
            return work(&lock_mutex(&self.shared.writer));
        };
        let idle = lock_mutex(&self.shared.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_connection(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .map_err(SqliteError::from)?,
        };
        let value = work(&connection);
        let mut readers = lock_mutex(&self.shared.readers);
        if readers.len() < MAX_IDLE_READERS {
            readers.push(connection);
        }
        value
    }

    /// Like [`Self::read_blocking`], off the caller's thread.
    pub async fn read<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<SqliteError> + Send + 'static,
    {
        let database = self.clone();
        run_blocking(move || database.read_blocking(work)).await
    }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn run_blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<SqliteError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => Err(SqliteError::TaskEnded(error.to_string()).into()),
    }
}

/// Locks a mutex, poisoned or not. A panic inside a transaction rolls it back when it is dropped, so the connection
/// stays usable.
pub(crate) fn lock_mutex<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates the file with mode 0600 before SQLite does; SQLite gives its side files the same permissions.
pub(crate) fn create_private_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let file = options.mode(0o600).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
    }
    #[cfg(not(unix))]
    options.open(path).map(drop)
}

/// Opens a connection with the settings that all connections share.
pub(crate) fn open_connection(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    configure_connection(&connection)?;
    Ok(connection)
}

fn configure_connection(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

#[cfg(test)]
impl SqliteDatabase {
    fn forget_access(&self) {
        self.shared.access.forget();
    }

    fn remembered_acls(&self) -> usize {
        self.shared.access.acls()
    }
}

#[cfg(test)]
mod tests;
