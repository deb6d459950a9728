//! The one SQLite database of a data directory, shared by the catalogue and the embedded index.
//!
//! Invariant: there is one writing connection, used by one short `BEGIN IMMEDIATE` transaction at a time; readers
//! have connections of their own and never wait for it. `kill -9` loses nothing that was committed. Power loss loses
//! nothing that was committed as [`Durability::Synced`]; [`Durability::Ordered`] commits are synced with the next
//! synced one (the write-ahead log is one file), so a published version never stands on points that were lost.

mod migrations;
pub mod rollback;
pub mod upgrade;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use upgrade::{CopyPolicy, Upgrade};

/// How long a connection waits for a lock that another process holds.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Reading connections kept open; more are opened for a moment when more reads run at once.
const MAX_IDLE_READERS: usize = 4;
/// Page cache of a connection, in KiB.
const CACHE_KIB: i64 = 4_096;
/// Pages in the write-ahead log after which a commit moves them into the database.
const CHECKPOINT_PAGES: i64 = 4_000;
/// Prepared statements a connection keeps.
const STATEMENTS: usize = 128;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite said no.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file could not be made or protected.
    #[error("cannot open {path}: {source}")]
    File {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A later program wrote it.
    #[error("{path} has schema {found}, this program knows up to {known}; hint: use the newer program")]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema known here.
        known: u32,
    },
    /// The copy that is made before an upgrade finds no room.
    #[error(
        "{path} has to be upgraded, and the disk has no room for the copy that is made of it before: it takes {needed} bytes \
         and a tenth and 64 MiB more, and {free} bytes are free"
    )]
    NoRoomForCopy {
        /// The database file.
        path: PathBuf,
        /// Its size.
        needed: u64,
        /// What is free on its disk.
        free: u64,
    },
    /// A value in a row cannot be read.
    #[error("damaged row: {0}")]
    Damaged(String),
    /// The task that ran the statement ended early.
    #[error("the database task ended early: {0}")]
    Ended(String),
}

impl DatabaseError {
    /// Whether what is stored cannot be read, rather than not be read now.
    pub fn is_damaged(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Damaged(_) => true,
            Self::Sqlite(error) => {
                matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
            }
            _ => false,
        }
    }

    /// Whether the disk has no room.
    pub fn is_full(&self) -> bool {
        use rusqlite::ErrorCode::DiskFull;
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(DiskFull))
    }
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Until the disk has it: what was acknowledged survives power loss.
    Synced,
    /// Not for the disk: survives `kill -9`, and power loss once a later synced commit is done.
    Ordered,
}

/// A handle to the database; clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// None for a database in memory, which lives in the writer's connection alone.
    path: Option<PathBuf>,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl Database {
    /// Opens or makes the database file, readable by its owner only, and brings it to the newest schema without a copy.
    /// Blocks.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        Ok(Self::open_upgrading(path, &CopyPolicy::default())?.0)
    }

    /// The same, with a copy of what an older program left before it is changed; says what was changed, if anything was.
    /// Blocks, for as long as the copy takes.
    pub fn open_upgrading(
        path: &Path,
        copies: &CopyPolicy,
    ) -> Result<(Self, Option<Upgrade>), DatabaseError> {
        protect(path).map_err(|source| DatabaseError::File {
            path: path.to_owned(),
            source,
        })?;
        let mut writer = connect(path, OpenFlags::default())?;
        writer.pragma_update(None, "journal_mode", "wal")?;
        writer.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        let pending = migrations::pending(&writer, path)?;
        let copy = upgrade::copy_before(&writer, path, &pending, copies)?;
        migrations::run(&mut writer, path)?;
        if copy.is_some() {
            upgrade::forget_label(&writer)?;
        }
        let upgrade = (pending.found > 0 && !pending.is_empty()).then_some(Upgrade {
            from: pending.found,
            to: pending.known,
            additions: pending.additions,
            copy,
        });
        Ok((Self::new(Some(path.to_owned()), writer), upgrade))
    }

    /// A database that ends with its last handle, for tests.
    pub fn in_memory() -> Result<Self, DatabaseError> {
        let mut writer = Connection::open_in_memory()?;
        configure(&writer)?;
        migrations::run(&mut writer, Path::new(":memory:"))?;
        Ok(Self::new(None, writer))
    }

    fn new(path: Option<PathBuf>, writer: Connection) -> Self {
        Self {
            shared: Arc::new(Shared {
                path,
                writer: Mutex::new(writer),
                readers: Mutex::default(),
            }),
        }
    }

    /// Runs `work` in one transaction and commits it if it is `Ok`. Blocks.
    pub fn write_blocking<T, E: From<DatabaseError>>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = lock(&self.shared.writer);
        let level = match durability {
            Durability::Synced => "full",
            Durability::Ordered => "normal",
        };
        connection
            .pragma_update(None, "synchronous", level)
            .map_err(DatabaseError::from)?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(DatabaseError::from)?;
        let value = work(&transaction)?;
        transaction.commit().map_err(DatabaseError::from)?;
        Ok(value)
    }

    /// Runs `work` on a connection for reading; one statement sees one state. Blocks.
    pub fn read_blocking<T, E: From<DatabaseError>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(path) = &self.shared.path else {
            return work(&lock(&self.shared.writer));
        };
        let idle = lock(&self.shared.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(
                path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )
            .map_err(DatabaseError::from)?,
        };
        let value = work(&connection);
        let mut readers = lock(&self.shared.readers);
        if readers.len() < MAX_IDLE_READERS {
            readers.push(connection);
        }
        value
    }

    /// [`Self::write_blocking`] off the caller's thread; goes on to its end if the caller leaves.
    pub async fn write<T, E>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        let database = self.clone();
        blocking(move || database.write_blocking(durability, work)).await
    }

    /// [`Self::read_blocking`] off the caller's thread.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        let database = self.clone();
        blocking(move || database.read_blocking(work)).await
    }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => Err(DatabaseError::Ended(error.to_string()).into()),
    }
}

/// A panic inside a transaction rolls it back when it is dropped, so the connection is as good as before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the file with its permissions before SQLite does; SQLite gives the same ones to its side files.
pub(crate) fn protect(path: &Path) -> std::io::Result<()> {
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

/// A connection with the settings that all have.
pub(crate) fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_and_opens_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ragstone.db");
        let database = Database::open(&path).unwrap();
        database
            .write_blocking::<_, DatabaseError>(Durability::Synced, |t| {
                Ok(t.execute("insert into settings (key, value) values ('a', 'b')", [])?)
            })
            .unwrap();
        drop(database);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        let database = Database::open(&path).unwrap();
        let value: String = database
            .read_blocking::<_, DatabaseError>(|c| {
                Ok(c.query_row("select value from settings where key = 'a'", [], |r| r.get(0))?)
            })
            .unwrap();
        assert_eq!(value, "b");
    }

    #[test]
    fn an_error_rolls_back() {
        let database = Database::in_memory().unwrap();
        let refused = database.write_blocking(Durability::Ordered, |t| {
            t.execute("insert into settings (key, value) values ('a', 'b')", [])?;
            Err::<(), _>(DatabaseError::Damaged("on purpose".into()))
        });
        assert!(refused.is_err());
        let rows: i64 = database
            .read_blocking::<_, DatabaseError>(|c| {
                Ok(c.query_row("select count(*) from settings", [], |r| r.get(0))?)
            })
            .unwrap();
        assert_eq!(rows, 0);
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ragstone.db");
        drop(Database::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 999).unwrap();
        drop(connection);
        let error = Database::open(&path).unwrap_err();
        assert!(
            matches!(error, DatabaseError::Newer { found: 999, .. }),
            "{error}"
        );
    }
}
