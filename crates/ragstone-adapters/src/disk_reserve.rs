//! A file that reserves part of the disk for deletions, reads and a restart.
//!
//! The file lies in the data directory and occupies real blocks. When the disk is full it is removed, and its blocks
//! are free for the writes of the database. It is created again as soon as there is room.
//!
//! Invariant: new content is accepted only while the reserve is held, and never from the last
//! [`DiskReserve::margin_bytes`] bytes; so only the database's own writes and other programs can cause its release.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the file within the data directory.
const FILE: &str = "reserve";
/// The reserve is at most this fraction (1/16) of the disk, so on a small disk it is less than the setting.
const DISK_SHARE: u64 = 16;
/// The margin is this fraction (1/4) of the reserve.
const MARGIN_SHARE: u64 = 4;
/// Bytes per write while the file is created.
const BLOCK: usize = 1 << 20;
/// Unit, in bytes, in which `stat` counts the blocks of a file.
#[cfg(unix)]
const STAT_BLOCK: u64 = 512;

/// The reserve of one data directory; clones share it.
#[derive(Debug, Clone)]
pub struct DiskReserve {
    shared: Arc<ReserveState>,
}

#[derive(Debug)]
struct ReserveState {
    folder: PathBuf,
    /// Size of the reserve; zero if none is wanted.
    bytes: u64,
    is_held: AtomicBool,
    /// Held while the file is created or released.
    changing: Mutex<()>,
}

/// State of the disk with respect to new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskSpace {
    /// New content is accepted.
    Enough,
    /// No new content is accepted until `missing` more bytes are free.
    Full {
        /// Bytes that are free.
        free: u64,
        /// Further bytes that have to become free.
        missing: u64,
    },
}

/// What a check of the disk changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveChange {
    /// The reserve was left as it was.
    None,
    /// The reserve was released.
    Released,
    /// The reserve was created.
    Made,
}

impl DiskReserve {
    /// Opens the reserve of `folder` with `bytes` bytes, at most 1/16 of its disk; zero disables it. Creates the file
    /// if there is room, and releases it if the disk is full. Blocks.
    pub fn open(folder: &Path, bytes: u64) -> io::Result<Self> {
        let disk = DiskCapacity::measure_disk(folder)?;
        let reserve = Self::new(folder, bytes.min(disk.bytes / DISK_SHARE));
        let file = reserve.reserve_file();
        match reserve.shared.bytes {
            0 => remove_if_present(&file)?,
            bytes => {
                let is_held = is_fully_allocated(&file, bytes);
                reserve.shared.is_held.store(is_held, Ordering::Relaxed);
                if !is_held {
                    remove_if_present(&file)?;
                }
            }
        }
        reserve.adjust_reserve()?;
        Ok(reserve)
    }

    fn new(folder: &Path, bytes: u64) -> Self {
        let shared = ReserveState {
            folder: folder.to_owned(),
            bytes,
            is_held: AtomicBool::new(false),
            changing: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Bytes of the disk that new content never uses.
    pub fn margin_bytes(&self) -> u64 {
        self.shared.bytes / MARGIN_SHARE
    }

    /// Folder whose disk is watched.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    fn reserve_file(&self) -> PathBuf {
        self.shared.folder.join(FILE)
    }

    fn is_held(&self) -> bool {
        self.shared.bytes == 0 || self.shared.is_held.load(Ordering::Relaxed)
    }

    /// Free bytes at which the reserve is created again; high enough that it is not released again at once.
    fn refill_threshold(&self) -> u64 {
        self.shared.bytes + 2 * self.margin_bytes()
    }

    /// Releases the reserve if the disk is full, or creates it if there is room again. Blocks.
    pub fn adjust_reserve(&self) -> io::Result<ReserveChange> {
        if self.shared.bytes == 0 {
            return Ok(ReserveChange::None);
        }
        let _changing = self.shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let free = DiskCapacity::measure_disk(&self.shared.folder)?.free;
        match self.is_held() {
            true if free < self.margin_bytes() => self.release_reserve(),
            false if free >= self.refill_threshold() => self.create_reserve(),
            _ => Ok(ReserveChange::None),
        }
    }

    /// Called before each write of the database: frees the room that it needs. Asks the system once, which costs a few
    /// microseconds, and touches no file unless the disk is full.
    pub fn before_write(&self) {
        if self.shared.bytes == 0 || !self.shared.is_held.load(Ordering::Relaxed) {
            return;
        }
        // An error here is ignored: the write itself reports whether it fits.
        let _ = self.adjust_reserve();
    }

    /// Reports that a write of the database found no room, even if the system says there is free space (a quota, for
    /// example).
    pub fn note_disk_full(&self) {
        let _changing = self.shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.is_held.load(Ordering::Relaxed) {
            // An error here is ignored: the next write shows whether it helped.
            let _ = self.release_reserve();
        }
    }

    /// Whether `bytes` more may be accepted.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        if self.shared.bytes == 0 {
            return true;
        }
        // If the free space cannot be read, writes report by themselves what does not fit.
        let free = DiskCapacity::measure_disk(&self.shared.folder).map_or(u64::MAX, |disk| disk.free);
        self.is_held() && free.saturating_sub(bytes) >= self.margin_bytes()
    }

    /// Current state of the disk.
    pub fn disk_space(&self) -> DiskSpace {
        let free = match DiskCapacity::measure_disk(&self.shared.folder) {
            Ok(disk) if !self.is_held() => disk.free,
            _ => return DiskSpace::Enough,
        };
        let missing = self.refill_threshold().saturating_sub(free);
        DiskSpace::Full { free, missing }
    }

    /// Truncates the file before removing it: a copy-on-write file system may have no room for the removal itself.
    fn release_reserve(&self) -> io::Result<ReserveChange> {
        let file = self.reserve_file();
        File::options().write(true).open(&file)?.set_len(0)?;
        self.shared.is_held.store(false, Ordering::Relaxed);
        remove_if_present(&file)?;
        Ok(ReserveChange::Released)
    }

    fn create_reserve(&self) -> io::Result<ReserveChange> {
        let file = self.reserve_file();
        if let Err(error) = create_filled_file(&file, self.shared.bytes) {
            remove_if_present(&file)?;
            return Err(error);
        }
        self.shared.is_held.store(true, Ordering::Relaxed);
        Ok(ReserveChange::Made)
    }
}

/// Size of a disk in bytes.
struct DiskCapacity {
    /// Total size of the disk.
    bytes: u64,
    /// Bytes that this user may still write.
    free: u64,
}

impl DiskCapacity {
    #[cfg(unix)]
    fn measure_disk(folder: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(folder)?;
        Ok(Self {
            bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
        })
    }

    #[cfg(not(unix))]
    fn measure_disk(_: &Path) -> io::Result<Self> {
        Ok(Self {
            bytes: 0,
            free: u64::MAX,
        })
    }
}

/// Creates a file whose blocks are really allocated.
fn create_filled_file(path: &Path, bytes: u64) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    match allocate_blocks(&file, bytes) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => write_blocks(&mut file, bytes),
        allocated => allocated,
    }
}

/// Allocates the blocks by `fallocate`, which writes no data.
#[cfg(target_os = "linux")]
fn allocate_blocks(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn allocate_blocks(_: &File, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Fallback for file systems without allocation: writes bytes that cannot be stored as a hole or deduplicated.
fn write_blocks(file: &mut File, bytes: u64) -> io::Result<()> {
    let (mut left, mut hasher) = (bytes, blake3::Hasher::new());
    let mut block = vec![0; BLOCK];
    while left > 0 {
        hasher.update(&left.to_le_bytes()).finalize_xof().fill(&mut block);
        let part = BLOCK.min(usize::try_from(left).unwrap_or(BLOCK));
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    file.sync_all()
}

fn is_fully_allocated(path: &Path, bytes: u64) -> bool {
    let Ok(metadata) = std::fs::metadata(path) else {
        return false;
    };
    #[cfg(unix)]
    let blocks = std::os::unix::fs::MetadataExt::blocks(&metadata).saturating_mul(STAT_BLOCK);
    #[cfg(not(unix))]
    let blocks = metadata.len();
    metadata.len() == bytes && blocks >= bytes
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 3 << 20;

    #[test]
    fn the_file_is_made_of_real_blocks_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::open(folder.path(), BYTES).unwrap();
        let file = folder.path().join(FILE);
        assert!(is_fully_allocated(&file, BYTES));
        assert_eq!(
            (reserve.disk_space(), reserve.adjust_reserve().unwrap()),
            (DiskSpace::Enough, ReserveChange::None)
        );
        let made = std::fs::metadata(&file).unwrap().modified().unwrap();
        DiskReserve::open(folder.path(), BYTES).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), made);
    }

    #[test]
    fn what_is_written_is_as_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let bytes = BYTES + 1;
        write_blocks(&mut File::create(&path).unwrap(), bytes).unwrap();
        assert!(is_fully_allocated(&path, bytes));
    }

    #[test]
    fn a_hole_is_no_reserve_and_another_size_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        File::create(&file).unwrap().set_len(BYTES).unwrap();
        assert!(!is_fully_allocated(&file, BYTES));
        DiskReserve::open(folder.path(), BYTES).unwrap();
        assert!(is_fully_allocated(&file, BYTES));
        DiskReserve::open(folder.path(), 2 * BYTES).unwrap();
        assert!(is_fully_allocated(&file, 2 * BYTES));
        DiskReserve::open(folder.path(), 0).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn what_was_given_up_is_made_again_and_nothing_is_taken_in_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::open(folder.path(), BYTES).unwrap();
        assert!(reserve.has_room_for(1));
        reserve.note_disk_full();
        assert!(!folder.path().join(FILE).exists());
        assert!(!reserve.has_room_for(1));
        assert!(matches!(reserve.disk_space(), DiskSpace::Full { .. }));
        assert_eq!(reserve.adjust_reserve().unwrap(), ReserveChange::Made);
        assert!(reserve.has_room_for(1) && !reserve.has_room_for(u64::MAX));
    }

    #[test]
    fn without_a_reserve_everything_is_admitted() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::open(folder.path(), 0).unwrap();
        reserve.note_disk_full();
        assert!(reserve.has_room_for(u64::MAX));
        assert_eq!(
            (reserve.disk_space(), reserve.adjust_reserve().unwrap()),
            (DiskSpace::Enough, ReserveChange::None)
        );
    }
}
