//! Watches the disk of the data directory: releases its reserve when it is full and restores it when there is room.
//!
//! Invariant: on a full disk documents can be read, searched and deleted, and nothing new is accepted.

use std::sync::Arc;
use std::time::Duration;

use ragstone_adapters::disk_reserve::{DiskReserve, DiskSpace, ReserveChange};
use ragstone_core::seam::Notifier;
use tokio::task::JoinHandle;

/// Interval between two checks.
const LOOK_EACH: Duration = Duration::from_secs(2);
const MIB: u64 = 1024 * 1024;

/// Truncates the database's log to return its space to the disk. Blocks.
pub type ShortenLog = Arc<dyn Fn() -> anyhow::Result<()> + Send + Sync>;

/// Checks the disk in the background until the task is aborted.
pub fn watch_disk(reserve: &DiskReserve, doorbell: &Arc<dyn Notifier>, shorten_log: ShortenLog) -> JoinHandle<()> {
    let (reserve, doorbell) = (reserve.clone(), doorbell.clone());
    tokio::spawn(async move {
        let mut was_full = false;
        loop {
            let (looks, shortens) = (reserve.clone(), shorten_log.clone());
            let looked = tokio::task::spawn_blocking(move || check_disk(&looks, &shortens)).await;
            let is_full = matches!(looked, Ok(DiskSpace::Full { .. }));
            match (was_full, is_full) {
                (false, true) => tracing::warn!("disk: {}", describe_disk(&reserve)),
                (true, false) => {
                    tracing::info!("there is room on the disk again, and documents are taken in");
                    doorbell.notify_workers();
                }
                _ => {}
            }
            was_full = is_full;
            tokio::time::sleep(LOOK_EACH).await;
        }
    })
}

fn check_disk(reserve: &DiskReserve, shorten_log: &ShortenLog) -> DiskSpace {
    match reserve.adjust_reserve() {
        Ok(ReserveChange::Released | ReserveChange::None) => {}
        Ok(ReserveChange::Made) => tracing::debug!("the reserve of the disk is made"),
        Err(error) => tracing::warn!(%error, "the reserve of the disk cannot be changed"),
    }
    let room = reserve.disk_space();
    if matches!(room, DiskSpace::Full { .. })
        && let Err(error) = shorten_log()
    {
        tracing::debug!("the database's log keeps its room: {error:#}");
    }
    room
}

/// State of the disk for people: what is wrong, how many bytes are missing, what to do.
pub fn describe_disk(reserve: &DiskReserve) -> String {
    match reserve.disk_space() {
        DiskSpace::Enough => "ok".into(),
        DiskSpace::Full { free, missing } => format!(
            "full: {} MiB are free and {} MiB more are missing, nothing new is taken in; hint: make room on the disk of \
             {}, or delete documents",
            free / MIB,
            missing.div_ceil(MIB),
            reserve.folder().display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_described_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::open(folder.path(), MIB).unwrap();
        assert_eq!(describe_disk(&reserve), "ok");
        reserve.note_disk_full();
        let said = describe_disk(&reserve);
        assert!(said.starts_with("full: ") && said.contains("hint: make room"), "{said}");
        let nothing: ShortenLog = Arc::new(|| Ok(()));
        assert_eq!(check_disk(&reserve, &nothing), DiskSpace::Enough);
        assert_eq!(describe_disk(&reserve), "ok");
    }
}
