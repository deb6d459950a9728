//! Lock that admits one download at a time over all processes: an advisory lock, released by the system when its
//! holder dies.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::FetchProgress;

/// Interval between tries of a held lock.
const RETRY: Duration = Duration::from_millis(200);

/// Waits for the lock, which is held until the file is dropped.
pub(super) async fn acquire_lock(
    path: &Path,
    progress: &(dyn Fn(FetchProgress<'_>) + Send + Sync),
) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    // Polled, because a thread that blocks on the lock could not be cancelled.
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => progress(FetchProgress::Waiting),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        tokio::time::sleep(RETRY).await;
    }
}
