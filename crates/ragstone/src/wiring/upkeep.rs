//! Periodic upkeep of the library: the sweep, marks, removal of old answers and jobs, and calibration of the evidence
//! threshold.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use ragstone_adapters::blob::remove_unfinished;
use ragstone_core::ingest::fsck::{FsckError, FsckReport, ORPHAN_AGE};
use ragstone_core::ingest::{Ingestor, UploadSharing};
use ragstone_core::library::Library;
use ragstone_core::seam::Catalogue;
use ragstone_core::seam::catalogue::CatalogueResult;
use tokio::task::JoinHandle;

use crate::clock::utc_now;
use crate::config::evaluation::FeedbackSection;
use crate::http::ApiServices;
use crate::jobs::IdleCallback;
use crate::operator;

/// Interval between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// Interval between removals of bytes whose sender disconnected.
const ABANDONED_EVERY: Duration = Duration::from_secs(10);
/// Interval between marks of the library's progress, where jobs did not mark it themselves.
const MARK_EVERY: Duration = Duration::from_secs(5);
/// Interval at which a process over shared stores checks for a threshold that another process calibrated.
const FOLLOW_EVERY: Duration = Duration::from_secs(30);
/// Largest difference between the first sweeps of processes that start together.
const MAX_START_OFFSET: Duration = Duration::from_secs(60);
/// Setting with the time of the last sweep of the shared stores, in seconds since 1970.
const SWEPT_AT: &str = "swept_at";

/// Jobs that are removed in one transaction.
const JOBS_AT_ONCE: usize = 500;

/// The sweep of one process.
pub struct SweepTask {
    /// Ingestor whose stores are swept.
    pub ingestor: Arc<Ingestor>,
    /// Folder of the blob store, if it is one.
    pub blobs: Option<PathBuf>,
    /// When this process opened the stores.
    pub started: SystemTime,
    /// Catalogue in which processes that share the stores agree who sweeps; `None` for local stores.
    pub shared: Option<Arc<dyn Catalogue>>,
    /// Notifies workers of jobs that the sweep queued.
    pub notify_workers: Arc<dyn Fn() + Send + Sync>,
}

impl SweepTask {
    /// Sweeps in the background until the task is aborted.
    pub fn start(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            if self.shared.is_some() {
                tokio::time::sleep(MAX_START_OFFSET.mul_f64(start_offset())).await;
            }
            self.remove_unfinished().await;
            loop {
                match self.sweep_once().await {
                    Ok(report) if report.repaired > 0 => {
                        let removed = report.repaired;
                        tracing::info!(removed, "leftovers of interrupted work are removed");
                        if !report.jobs.is_empty() {
                            (self.notify_workers)();
                        }
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "the sweep is tried again later"),
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        })
    }

    /// Each process sweeps its own embedding cache, and one of them the shared stores. If two sweep at once, both find
    /// less to do.
    async fn sweep_once(&self) -> Result<FsckReport, FsckError> {
        match &self.shared {
            None => self.ingestor.consistency().sweep_stores(UploadSharing::Exclusive).await,
            Some(catalogue) if claim_sweep(catalogue.as_ref()).await? => {
                self.ingestor.consistency().sweep_stores(UploadSharing::Shared).await
            }
            Some(_) => self.ingestor.consistency().sweep_cache().await,
        }
    }

    /// Removes unfinished files that a dead process left in the folder. In a shared folder only old files are removed,
    /// because other processes may be writing.
    async fn remove_unfinished(&self) {
        let Some(folder) = self.blobs.clone() else {
            return;
        };
        let before = match self.shared {
            Some(_) => self.started.checked_sub(ORPHAN_AGE).unwrap_or(self.started),
            None => self.started,
        };
        match tokio::task::spawn_blocking(move || remove_unfinished(&folder, before)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(files)) => tracing::info!(files, "files that were not written to their end are removed"),
            Ok(Err(error)) => tracing::warn!(%error, "unfinished files are left"),
            Err(error) => tracing::warn!(%error, "unfinished files are left"),
        }
    }
}

/// A fraction in 0..1 that differs between processes, from the process id.
fn start_offset() -> f64 {
    f64::from(std::process::id() % 60) / 60.0
}

async fn claim_sweep(catalogue: &dyn Catalogue) -> Result<bool, FsckError> {
    let now = utc_now().unix_timestamp();
    let swept: Option<i64> = catalogue.get_setting(SWEPT_AT).await?.and_then(|at| at.parse().ok());
    // With the absolute difference, a clock that was set back does not stop sweeping.
    let is_due = swept.is_none_or(|at| (now - at).unsigned_abs() >= SWEEP_EVERY.as_secs());
    if is_due {
        catalogue.set_setting(SWEPT_AT, &now.to_string()).await?;
    }
    Ok(is_due)
}

/// Removes uploads whose sender disconnected, in the background until the task is aborted.
pub fn remove_abandoned(ingestor: Arc<Ingestor>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(ABANDONED_EVERY).await;
            ingestor.incoming().remove_abandoned().await;
        }
    })
}

/// Marks the library's progress in the background until the task is aborted.
pub fn mark_periodically(ingestor: Arc<Ingestor>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(MARK_EVERY).await;
            mark_progress(&ingestor).await;
        }
    })
}

/// Marks the library's progress; a failure is retried at the next mark.
pub async fn mark_progress(ingestor: &Ingestor) {
    if let Err(error) = ingestor.marker().mark_generation().await {
        tracing::warn!(%error, "how far the library has come is marked later");
    }
}

/// Follows the threshold that other processes calibrate as the library grows.
pub fn follow_threshold(library: Arc<Library>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            calibrate_threshold(&library).await;
        }
    })
}

/// Removes answers that were kept long enough, in the background until the task is aborted.
pub fn forget_answers(api: Arc<ApiServices>, settings: &FeedbackSection) -> JoinHandle<()> {
    let (days, most) = (settings.retention_days, settings.max_answers);
    tokio::spawn(async move {
        loop {
            let before = match days {
                0 => time::OffsetDateTime::UNIX_EPOCH,
                days => (api.clock)() - time::Duration::days(days.into()),
            };
            match api.feedback.remove_old_answers(before, most).await {
                Ok(0) => {}
                Ok(answers) => tracing::info!(answers, "old answers are forgotten"),
                Err(error) => tracing::warn!(%error, "old answers are forgotten later"),
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    })
}

/// Removes jobs that ended long enough ago, in the background until the task is aborted. All processes that share a
/// catalogue do it; the second one finds less to do.
pub fn remove_ended_jobs(catalogue: Arc<dyn Catalogue>, keep_days: u32) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let before = utc_now() - time::Duration::days(keep_days.into());
            match remove_jobs_before(catalogue.as_ref(), before).await {
                Ok(0) => {}
                Ok(jobs) => tracing::info!(jobs, "jobs that ended long ago are removed"),
                Err(error) => tracing::warn!(%error, "jobs that ended long ago are removed later"),
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    })
}

/// Removes jobs in batches, so that no transaction is long.
async fn remove_jobs_before(catalogue: &dyn Catalogue, before: time::OffsetDateTime) -> CatalogueResult<u64> {
    let mut all = 0;
    loop {
        match catalogue.remove_ended_jobs(before, JOBS_AT_ONCE).await? {
            0 => return Ok(all),
            gone => all += gone,
        }
    }
}

/// Calibrates the threshold below which no answer is given, if the library has changed enough.
pub async fn calibrate_threshold(library: &Library) {
    if let Err(error) = library
        .calibrate_threshold(&operator::operator_principal().scope())
        .await
    {
        tracing::warn!(%error, "the threshold for answers cannot be found");
    }
}

/// Callback of the workers when they become idle: calibrates the threshold.
pub fn on_idle(library: &Arc<Library>) -> IdleCallback {
    let library = library.clone();
    Arc::new(move || {
        let library = library.clone();
        async move { calibrate_threshold(&library).await }.boxed()
    })
}
