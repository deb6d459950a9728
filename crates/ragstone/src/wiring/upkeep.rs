//! What this process does for the library without being asked: the sweep, forgetting old answers, and finding the
//! threshold for answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use ragstone_adapters::blob::remove_unfinished;
use ragstone_core::ingest::{Ingestor, Uploads};
use ragstone_core::library::Library;
use tokio::task::JoinHandle;

use crate::config::evaluation::Feedback;
use crate::http::Api;
use crate::jobs::OnIdle;
use crate::operator;

/// How long a sweep is worth.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// Sweeps in the background, until it is aborted. `blobs` is the folder of the blob store, which this process alone
/// has; what lies there unfinished since before `started` was left by one that died.
pub fn sweep(
    ingestor: Arc<Ingestor>,
    blobs: PathBuf,
    started: SystemTime,
    doorbell: Arc<dyn Fn() + Send + Sync>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let removed = tokio::task::spawn_blocking(move || remove_unfinished(&blobs, started)).await;
        match removed {
            Ok(Ok(0)) => {}
            Ok(Ok(files)) => tracing::info!(files, "files that were not written to their end are removed"),
            Ok(Err(error)) => tracing::warn!(%error, "unfinished files are left"),
            Err(error) => tracing::warn!(%error, "unfinished files are left"),
        }
        loop {
            match ingestor.sweep(Uploads::OursAlone).await {
                Ok(report) if report.repaired > 0 => {
                    tracing::info!(
                        removed = report.repaired,
                        "leftovers of interrupted work are removed"
                    );
                    if !report.jobs.is_empty() {
                        doorbell();
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the sweep is tried again later"),
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    })
}

/// Forgets answers that were kept for long enough, in the background, until it is aborted.
pub fn forget_answers(api: Arc<Api>, settings: &Feedback) -> JoinHandle<()> {
    let (days, most) = (settings.retention_days, settings.max_answers);
    tokio::spawn(async move {
        loop {
            let before = match days {
                0 => time::OffsetDateTime::UNIX_EPOCH,
                days => (api.clock)() - time::Duration::days(days.into()),
            };
            match api.feedback.forget_answers(before, most).await {
                Ok(0) => {}
                Ok(answers) => tracing::info!(answers, "old answers are forgotten"),
                Err(error) => tracing::warn!(%error, "old answers are forgotten later"),
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    })
}

/// Finds the threshold below which nothing is answered, where the library has changed enough.
pub async fn calibrate(library: &Library) {
    if let Err(error) = library.calibrate(&operator::principal().scope()).await {
        tracing::warn!(%error, "the threshold for answers cannot be found");
    }
}

/// What the workers do when nothing waits any more.
pub fn on_idle(library: &Arc<Library>) -> OnIdle {
    let library = library.clone();
    Arc::new(move || {
        let library = library.clone();
        async move { calibrate(&library).await }.boxed()
    })
}
