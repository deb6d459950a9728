//! Background work in this process: workers that take jobs from the job queue.
//!
//! Invariant: only the queue in the catalogue decides what is to be done; the notifier only wakes workers, so a lost
//! notification costs a wait and never a job.

mod places;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ragstone_core::document::WorkerId;
use ragstone_core::id::JobId;
use ragstone_core::ingest::{Ingestor, JobOutcome};
use ragstone_core::seam::{CatalogueError, Notifier};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;

use places::{JobSlot, JobSlots, SMALL_PER_PLACE};

/// Called once when the workers become idle after having had work.
pub type IdleCallback = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Settings and callbacks of the workers.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Jobs at once, at least 1; several small documents count as one.
    pub workers: usize,
    /// Longest wait without a notification.
    pub poll: Duration,
    /// Notifies when a job was queued.
    pub notifier: Arc<dyn Notifier>,
    /// Whether jobs may be claimed; checked before each claim.
    pub may_work: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Publishes the id of each job whose state changed.
    pub events: broadcast::Sender<JobId>,
    /// Called when the workers become idle.
    pub on_idle: IdleCallback,
}

/// Time that workers have to hand their jobs back at shutdown.
const HAND_BACK: Duration = Duration::from_secs(5);

/// Phases of a shutdown, as seen by workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShutdownPhase {
    /// Workers claim and run jobs.
    Running,
    /// Workers finish their jobs and take no further ones.
    Draining,
    /// Workers hand back the jobs they hold.
    HandBack,
}

/// The running workers of this process.
pub struct WorkerPool {
    phase: watch::Sender<ShutdownPhase>,
    tasks: JoinSet<()>,
}

impl WorkerPool {
    /// Starts `options.workers` times `SMALL_PER_PLACE` workers.
    pub fn start(ingestor: &Arc<Ingestor>, options: &WorkerOptions) -> Self {
        let (told, listener) = watch::channel(ShutdownPhase::Running);
        let more = Arc::new(Notify::new());
        let places = Arc::new(JobSlots::new(options.workers));
        let mut tasks = JoinSet::new();
        for number in (1..).take(options.workers.max(1) * SMALL_PER_PLACE) {
            let worker = WorkerId {
                process: std::process::id(),
                number,
            };
            let hands = WorkerLoop {
                ingestor: ingestor.clone(),
                options: options.clone(),
                worker,
                // A worker that found a job wakes the others, so no more workers need to poll than there are slots.
                polls: number as usize <= options.workers.max(1),
                slots: places.clone(),
                more: more.clone(),
            };
            tasks.spawn(run_worker(hands, listener.clone()));
        }
        Self { phase: told, tasks }
    }

    /// Lets running jobs finish until `patience` completes, then hands the others back. Returns whether all jobs
    /// finished.
    pub async fn stop(mut self, patience: impl Future<Output = ()>) -> bool {
        self.phase.send_replace(ShutdownPhase::Draining);
        if self.wait_until_ended(patience).await {
            return true;
        }
        self.phase.send_replace(ShutdownPhase::HandBack);
        if !self.wait_until_ended(tokio::time::sleep(HAND_BACK)).await {
            tracing::warn!("some jobs could not be handed back; the next start takes them back");
        }
        self.tasks.shutdown().await;
        false
    }

    async fn wait_until_ended(&mut self, patience: impl Future<Output = ()>) -> bool {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        tokio::select! {
            biased;
            () = all => true,
            () = patience => false,
        }
    }
}

/// State of one worker.
struct WorkerLoop {
    ingestor: Arc<Ingestor>,
    options: WorkerOptions,
    worker: WorkerId,
    /// Whether it also checks for jobs without a notification.
    polls: bool,
    slots: Arc<JobSlots>,
    /// A worker that found a job wakes the next one here, because one notification may stand for several jobs.
    more: Arc<Notify>,
}

async fn run_worker(hands: WorkerLoop, mut told: watch::Receiver<ShutdownPhase>) {
    let options = &hands.options;
    while *told.borrow() == ShutdownPhase::Running {
        let place = tokio::select! {
            place = hands.slots.acquire() => place,
            _ = told.changed() => continue,
        };
        let next = match (options.may_work)() {
            true => hands.run_next_job(place, told.clone()).await,
            false => Ok(None),
        };
        match next {
            Ok(Some((job, outcome))) => {
                log_outcome(job, hands.worker, &outcome);
                // Fails only if nobody is subscribed.
                let _ = options.events.send(job);
                continue;
            }
            Ok(None) if hands.slots.take_became_idle() => (options.on_idle)().await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the ledger of jobs cannot be read; trying again"),
        }
        hands.wait_for_work(&mut told).await;
    }
}

impl WorkerLoop {
    /// Claims the next job and runs it until it ends or `HandBack`. A job larger than its slot is handed back at once.
    async fn run_next_job(
        &self,
        place: JobSlot,
        mut told: watch::Receiver<ShutdownPhase>,
    ) -> Result<Option<(JobId, JobOutcome)>, CatalogueError> {
        let claimed = self.ingestor.runner().claim_job(self.worker).await;
        for job in self.ingestor.runner().take_flushed() {
            // Fails only if nobody is subscribed.
            let _ = self.options.events.send(job);
        }
        let Some(claim) = claimed? else {
            return Ok(None);
        };
        let place = self.slots.resize_slot(place, &claim);
        self.more.notify_one();
        let has_place = place.is_some();
        let leave = async move {
            if has_place {
                // An error means that the pool was dropped, which is treated like `HandBack`.
                let _ = told.wait_for(|told| *told == ShutdownPhase::HandBack).await;
            }
        };
        let outcome = self.ingestor.runner().run_job(&claim, leave).await?;
        Ok(Some((claim.job.id, outcome)))
    }

    async fn wait_for_work(&self, told: &mut watch::Receiver<ShutdownPhase>) {
        tokio::select! {
            () = self.options.notifier.wait_for_notification() => {}
            () = self.more.notified() => {}
            () = tokio::time::sleep(self.options.poll), if self.polls => {}
            _ = told.changed() => {}
        }
    }
}

fn log_outcome(job: JobId, worker: WorkerId, outcome: &JobOutcome) {
    match outcome {
        JobOutcome::Succeeded => tracing::info!(%job, %worker, "job succeeded"),
        // Already logged where the failure was recorded, which may be later than here.
        JobOutcome::Failed(_) => {}
        JobOutcome::Retried(error) => {
            tracing::info!(%job, %worker, code = %error.code, detail = %error.detail, "job is tried again")
        }
        JobOutcome::Stale => tracing::info!(%job, %worker, "job was taken over or cancelled"),
        JobOutcome::HandedBack => tracing::info!(%job, %worker, "job is handed back"),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use ragstone_adapters::doorbell::LocalNotifier;
    use ragstone_core::seam::catalogue::BeginOutcome;
    use ragstone_core::seam::fake::faults::{Event, Fault, Faults};
    use ragstone_core::seam::fake::{House, WORKER, writer};

    use super::*;

    #[tokio::test]
    async fn an_end_that_is_noted_late_is_told() {
        let faults = Arc::new(Faults::default());
        let (house, caller) = (House::failing(&faults), writer("a", &[]));
        let begun = house.accept(&caller, "x.txt", &["everyone"], "a text").await;
        let BeginOutcome::Started(_, job) = begun else {
            panic!("a version was to start: {begun:?}")
        };
        let ingestor = Arc::new(house.another());
        let claim = ingestor.runner().claim_job(WORKER).await.unwrap().unwrap();
        faults.at(1, Event::Fails(Fault::Dead));
        let unnoted = ingestor.runner().run_job(&claim, std::future::pending()).await;
        assert!(unnoted.is_err(), "{unnoted:?}");
        faults.heal();
        let (events, mut told) = broadcast::channel(4);
        let options = WorkerOptions {
            workers: 1,
            poll: Duration::from_secs(3600),
            notifier: Arc::new(LocalNotifier::default()),
            may_work: Arc::new(|| true),
            events,
            on_idle: Arc::new(|| async {}.boxed()),
        };
        let workers = WorkerPool::start(&ingestor, &options);
        // Its wait does not end, because nobody advances the clock: the event comes from the note alone.
        assert_eq!(told.recv().await, Ok(job.id));
        workers.stop(std::future::ready(())).await;
    }
}
