//! Background work in this process: workers that take jobs from the ledger.
//!
//! Invariant: the ledger alone says what is to be done; the doorbell only wakes, so a ring that is lost costs a wait
//! and never a job.

mod places;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ragstone_core::document::Worker;
use ragstone_core::id::JobId;
use ragstone_core::ingest::{Ingestor, Outcome};
use ragstone_core::seam::{CatalogueError, Doorbell};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;

use places::{JobPlace, JobPlaces, SMALL_PER_PLACE};

/// What is done when nothing waits any more after something was done.
pub type OnIdle = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// How workers run.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Jobs at once, at least 1; several small documents count as one.
    pub workers: usize,
    /// Longest wait without a ring.
    pub poll: Duration,
    /// Rung when a job was queued.
    pub doorbell: Arc<dyn Doorbell>,
    /// Whether jobs may be taken; asked before each.
    pub may_work: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Tells that a job moved.
    pub events: broadcast::Sender<JobId>,
    /// See there.
    pub on_idle: OnIdle,
}

/// How long workers that were told to leave have to hand their jobs back.
const HAND_BACK: Duration = Duration::from_secs(5);

/// What workers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Take jobs.
    Work,
    /// Take no further job.
    Finish,
    /// Hand back what is at work.
    Leave,
}

/// Running workers.
pub struct Workers {
    told: watch::Sender<Told>,
    tasks: JoinSet<()>,
}

impl Workers {
    /// Starts them.
    pub fn start(ingestor: &Arc<Ingestor>, options: &WorkerOptions) -> Self {
        let (told, listener) = watch::channel(Told::Work);
        let more = Arc::new(Notify::new());
        let places = Arc::new(JobPlaces::new(options.workers));
        let mut tasks = JoinSet::new();
        for number in (1..).take(options.workers.max(1) * SMALL_PER_PLACE) {
            let worker = Worker {
                process: std::process::id(),
                number,
            };
            let hands = Hands {
                ingestor: ingestor.clone(),
                options: options.clone(),
                worker,
                // The others are woken by whoever found a job: a ring that was lost costs no more looks than there are places.
                polls: number as usize <= options.workers.max(1),
                places: places.clone(),
                more: more.clone(),
            };
            tasks.spawn(work(hands, listener.clone()));
        }
        Self { told, tasks }
    }

    /// Lets the jobs at work come to their end until `patience` ends; the others are handed back. Says whether all came
    /// to their end.
    pub async fn stop(mut self, patience: impl Future<Output = ()>) -> bool {
        self.told.send_replace(Told::Finish);
        if self.ended(patience).await {
            return true;
        }
        self.told.send_replace(Told::Leave);
        if !self.ended(tokio::time::sleep(HAND_BACK)).await {
            tracing::warn!("some jobs could not be handed back; the next start takes them back");
        }
        self.tasks.shutdown().await;
        false
    }

    async fn ended(&mut self, patience: impl Future<Output = ()>) -> bool {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        tokio::select! {
            biased;
            () = all => true,
            () = patience => false,
        }
    }
}

/// One worker.
struct Hands {
    ingestor: Arc<Ingestor>,
    options: WorkerOptions,
    worker: Worker,
    /// Whether it looks now and then without a ring.
    polls: bool,
    places: Arc<JobPlaces>,
    /// Who found a job wakes the next, as one ring may stand for several jobs.
    more: Arc<Notify>,
}

async fn work(hands: Hands, mut told: watch::Receiver<Told>) {
    let options = &hands.options;
    while *told.borrow() == Told::Work {
        let place = tokio::select! {
            place = hands.places.wait() => place,
            _ = told.changed() => continue,
        };
        let next = match (options.may_work)() {
            true => hands.next(place, told.clone()).await,
            false => Ok(None),
        };
        match next {
            Ok(Some((job, outcome))) => {
                log(job, hands.worker, &outcome);
                // Nobody may be listening.
                let _ = options.events.send(job);
                continue;
            }
            Ok(None) if hands.places.have_become_idle() => (options.on_idle)().await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the ledger of jobs cannot be read; trying again"),
        }
        hands.wait(&mut told).await;
    }
}

impl Hands {
    /// Takes the next job and carries it out, until told to leave. One that is larger than its place is handed back.
    async fn next(
        &self,
        place: JobPlace,
        mut told: watch::Receiver<Told>,
    ) -> Result<Option<(JobId, Outcome)>, CatalogueError> {
        let claimed = self.ingestor.claim(self.worker).await;
        for job in self.ingestor.noted_late() {
            // Nobody may be listening.
            let _ = self.options.events.send(job);
        }
        let Some(claim) = claimed? else {
            return Ok(None);
        };
        let place = self.places.fit(place, &claim);
        self.more.notify_one();
        let has_place = place.is_some();
        let leave = async move {
            if has_place {
                // Whoever started the workers is gone: that says the same.
                let _ = told.wait_for(|told| *told == Told::Leave).await;
            }
        };
        let outcome = self.ingestor.run(&claim, leave).await?;
        Ok(Some((claim.job.id, outcome)))
    }

    async fn wait(&self, told: &mut watch::Receiver<Told>) {
        tokio::select! {
            () = self.options.doorbell.wait() => {}
            () = self.more.notified() => {}
            () = tokio::time::sleep(self.options.poll), if self.polls => {}
            _ = told.changed() => {}
        }
    }
}

fn log(job: JobId, worker: Worker, outcome: &Outcome) {
    match outcome {
        Outcome::Succeeded => tracing::info!(%job, %worker, "job succeeded"),
        // Logged where the failure was recorded, which may be later than here.
        Outcome::Failed(_) => {}
        Outcome::Retried(error) => {
            tracing::info!(%job, %worker, code = %error.code, detail = %error.detail, "job is tried again")
        }
        Outcome::Stale => tracing::info!(%job, %worker, "job was taken over or cancelled"),
        Outcome::HandedBack => tracing::info!(%job, %worker, "job is handed back"),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use ragstone_adapters::doorbell::HereDoorbell;
    use ragstone_core::seam::catalogue::Begun;
    use ragstone_core::seam::fake::faults::{Event, Fault, Faults};
    use ragstone_core::seam::fake::{House, WORKER, writer};

    use super::*;

    #[tokio::test]
    async fn an_end_that_is_noted_late_is_told() {
        let faults = Arc::new(Faults::default());
        let (house, caller) = (House::failing(&faults), writer("a", &[]));
        let begun = house.accept(&caller, "x.txt", &["everyone"], "a text").await;
        let Begun::Started(_, job) = begun else {
            panic!("a version was to start: {begun:?}")
        };
        let ingestor = Arc::new(house.another());
        let claim = ingestor.claim(WORKER).await.unwrap().unwrap();
        faults.at(1, Event::Fails(Fault::Dead));
        let unnoted = ingestor.run(&claim, std::future::pending()).await;
        assert!(unnoted.is_err(), "{unnoted:?}");
        faults.heal();
        let (events, mut told) = broadcast::channel(4);
        let options = WorkerOptions {
            workers: 1,
            poll: Duration::from_secs(3600),
            doorbell: Arc::new(HereDoorbell::default()),
            may_work: Arc::new(|| true),
            events,
            on_idle: Arc::new(|| async {}.boxed()),
        };
        let workers = Workers::start(&ingestor, &options);
        // Its wait does not end, for nobody turns the clock: the news are of the note alone.
        assert_eq!(told.recv().await, Ok(job.id));
        workers.stop(std::future::ready(())).await;
    }
}
