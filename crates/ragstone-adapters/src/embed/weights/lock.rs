//! One fetcher at a time, over all processes: an advisory lock that the system releases when its holder dies.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::FetchProgress;

/// How often a held lock is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Waits for the lock; it is held until the file is dropped.
pub(super) async fn acquire_lock(
    path: &Path,
    progress: &(dyn Fn(FetchProgress<'_>) + Send + Sync),
) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    // Tried again and again instead of waited for: a waiting thread could not be cancelled.
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => progress(FetchProgress::Waiting),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        tokio::time::sleep(RETRY).await;
    }
}
