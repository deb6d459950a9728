//! Background work in this process: workers that take jobs from the ledger.
//!
//! Invariant: the ledger alone says what is to be done; the doorbell only wakes, so a ring that is lost costs a wait
//! and never a job.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ragstone_core::id::JobId;
use ragstone_core::ingest::{Ingestor, Outcome};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;

/// What is done when nothing waits any more after something was done.
pub type OnIdle = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// How workers run.
#[derive(Clone)]
pub struct WorkerOptions {
    /// How many, at least 1.
    pub workers: usize,
    /// Longest wait without a ring.
    pub poll: Duration,
    /// Rung when a job was queued.
    pub doorbell: Arc<Notify>,
    /// Tells that a job moved.
    pub events: broadcast::Sender<JobId>,
    /// See there.
    pub on_idle: OnIdle,
}

/// Running workers.
pub struct Workers {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Workers {
    /// Starts them.
    pub fn start(ingestor: &Arc<Ingestor>, options: &WorkerOptions) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for _ in 0..options.workers.max(1) {
            tasks.spawn(work(ingestor.clone(), options.clone(), stopped.clone()));
        }
        Self { stop, tasks }
    }

    /// Lets the jobs at work come to their end for at most `bound`, then drops them where they stand. Says whether all
    /// came to their end; the ledger still calls the others running, to be taken back.
    pub async fn stop(mut self, bound: Duration) -> bool {
        self.stop.send_replace(true);
        let ended =
            tokio::time::timeout(bound, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
        ended.is_ok()
    }
}

async fn work(ingestor: Arc<Ingestor>, options: WorkerOptions, mut stopped: watch::Receiver<bool>) {
    let mut busy = false;
    while !*stopped.borrow() {
        match ingestor.run_next().await {
            Ok(Some((job, outcome))) => {
                busy = true;
                log(job, &outcome);
                // Nobody may be listening.
                let _ = options.events.send(job);
                continue;
            }
            Ok(None) if std::mem::take(&mut busy) => (options.on_idle)().await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the ledger of jobs cannot be read; trying again"),
        }
        wait(&options, &mut stopped).await;
    }
}

fn log(job: JobId, outcome: &Outcome) {
    match outcome {
        Outcome::Succeeded => tracing::info!(%job, "job succeeded"),
        Outcome::Failed(error) => {
            tracing::info!(%job, code = %error.code, detail = %error.detail, "job failed")
        }
        Outcome::Retried(error) => {
            tracing::warn!(%job, code = %error.code, detail = %error.detail, "job is tried again")
        }
        Outcome::Stale => tracing::info!(%job, "job was taken over or cancelled"),
    }
}

async fn wait(options: &WorkerOptions, stopped: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = options.doorbell.notified() => {}
        () = tokio::time::sleep(options.poll) => {}
        _ = stopped.changed() => {}
    }
}
