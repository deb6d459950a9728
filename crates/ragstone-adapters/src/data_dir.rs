//! A data directory and the lock that makes one process its owner.
//!
//! Invariant: while a [`DataDirectory`] lives, no other process has one for the same folder. The operating system
//! releases the lock however the process ends.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataDirectoryError {
    /// Another process holds the lock.
    #[error("{path} is in use by process {holder}; hint: stop it, or let it do the work")]
    InUse {
        /// Path of the data directory.
        path: PathBuf,
        /// Process id that the holder wrote down, or `unknown`.
        holder: String,
    },
    /// The directory cannot be written to.
    #[error(
        "cannot write to the data directory {path}: {source}; hint: it must be writable by this user, and its disk not read-only"
    )]
    ReadOnly {
        /// Path of the data directory.
        path: PathBuf,
        /// Error from the operating system.
        source: io::Error,
    },
    /// The directory cannot be created or locked.
    #[error("cannot use {path} as data directory: {source}")]
    Unusable {
        /// Path of the data directory.
        path: PathBuf,
        /// Error from the operating system.
        source: io::Error,
    },
}

/// A locked data directory; dropping it releases the lock.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Whether the previous process ended without removing its socket.
    follows_crash: bool,
    /// Open file that carries the lock.
    _lock: File,
}

impl DataDirectory {
    /// Creates the folder if needed, readable by its owner only, and locks it. Does not wait for the lock.
    pub fn open(path: &Path) -> Result<Self, DataDirectoryError> {
        let unusable = |source: io::Error| {
            use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
            let path = path.to_owned();
            match source.kind() {
                PermissionDenied | ReadOnlyFilesystem => DataDirectoryError::ReadOnly { path, source },
                _ => DataDirectoryError::Unusable { path, source },
            }
        };
        create_private_folder(path).map_err(unusable)?;
        let resolved = path.canonicalize().map_err(unusable)?;
        let mut lock = open_lock_file(&resolved).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder(&mut lock);
                let path = resolved;
                return Err(DataDirectoryError::InUse { path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        match write_holder(&mut lock) {
            // On a full disk the holder's id cannot be written, but the lock is held all the same.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            signed => signed.map_err(unusable)?,
        }
        Ok(Self {
            follows_crash: socket_path_in(&resolved).exists(),
            path: resolved,
            _lock: lock,
        })
    }

    /// Path of the data directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the previous owner crashed, so that unfinished uploads may be left.
    pub fn follows_crash(&self) -> bool {
        self.follows_crash
    }

    /// Path of the database of the catalogue and the embedded index.
    pub fn database_path(&self) -> PathBuf {
        database_path_in(&self.path)
    }

    /// Paths of the databases of indexes that have a database of their own.
    pub fn list_indexes(&self) -> io::Result<Vec<PathBuf>> {
        let mut indexes = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("index-") && name.ends_with(".db") {
                indexes.push(entry.path());
            }
        }
        Ok(indexes)
    }

    /// Path of the embedding cache; the file may be deleted at any time.
    pub fn cache_path(&self) -> PathBuf {
        self.path.join("cache.db")
    }

    /// Folder of the blob store.
    pub fn blobs_path(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// Holder id of this data directory, created at first use. The next process that opens the directory gets the same
    /// id.
    pub fn load_holder_id(&self) -> io::Result<Uuid> {
        let file = self.path.join("name");
        match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = Uuid::new_v4();
                std::fs::write(&file, format!("{name}\n"))?;
                Ok(name)
            }
            Err(error) => Err(error),
        }
    }

    /// Path of the socket on which the owner listens to other processes of the same user.
    pub fn socket_path(&self) -> PathBuf {
        socket_path_in(&self.path)
    }
}

/// Path of the database in the data directory `path`, for a process that only reads.
pub fn database_path_in(path: &Path) -> PathBuf {
    path.join("ragstone.db")
}

/// Path of the owner's socket in the data directory `path`, for a process that found it locked.
pub fn socket_path_in(path: &Path) -> PathBuf {
    path.join("socket")
}

/// Path of the database of a separate index in the data directory `path`, beside the catalogue's database.
pub fn index_path_in(path: &Path, place: &str) -> PathBuf {
    path.join(format!("index-{place}.db"))
}

/// Removes the databases of all separate indexes except those at `places`.
pub fn remove_other_indexes(path: &Path, places: &[&str]) -> io::Result<()> {
    let kept: Vec<String> = places.iter().map(|place| format!("index-{place}.db")).collect();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        // The names of SQLite's side files (`-wal`, `-shm`) begin with the database's name.
        let is_index = name.starts_with("index-") && name.contains(".db");
        if is_index && !kept.iter().any(|kept| name.starts_with(kept.as_str())) {
            std::fs::remove_file(path.join(&*name))?;
        }
    }
    Ok(())
}

fn create_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn open_lock_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path.join("lock"))
}

/// Reads the holder's process id. The holder writes it after it has the lock, so for an instant it may be missing or
/// out of date.
fn read_holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.read_to_string(&mut text);
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(process) => process.to_string(),
        None => "unknown".into(),
    }
}

fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())?;
    lock.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it_and_gets_it_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = DataDirectory::open(&path).unwrap();
        let refused = DataDirectory::open(&path).unwrap_err();
        let process = std::process::id().to_string();
        assert!(
            matches!(&refused, DataDirectoryError::InUse { holder, .. } if *holder == process),
            "{refused}"
        );
        assert_eq!(first.database_path().parent(), Some(first.path()));
        drop(first);
        DataDirectory::open(&path).unwrap();
    }

    #[test]
    fn a_socket_that_is_left_tells_of_a_death() {
        let folder = tempfile::tempdir().unwrap();
        let open = || DataDirectory::open(folder.path()).unwrap();
        let first = open();
        assert!(!first.follows_crash());
        std::fs::write(first.socket_path(), "").unwrap();
        drop(first);
        assert!(open().follows_crash());
    }

    #[test]
    fn its_name_stays_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let name = || DataDirectory::open(folder.path()).unwrap().load_holder_id().unwrap();
        assert_eq!(name(), name());
        std::fs::write(folder.path().join("name"), "half a na").unwrap();
        assert!(DataDirectory::open(folder.path()).unwrap().load_holder_id().is_err());
    }

    #[cfg(unix)]
    #[test]
    fn it_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let data = DataDirectory::open(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(data.path()), 0o700);
        assert_eq!(mode(&data.path().join("lock")), 0o600);
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = DataDirectory::open(file.path()).unwrap_err();
        assert!(matches!(refused, DataDirectoryError::Unusable { .. }), "{refused}");
    }
}
