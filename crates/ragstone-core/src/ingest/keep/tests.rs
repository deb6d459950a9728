//! Work that is stopped: cancelled, replaced, taken over, stalled, handed back; and what it leaves.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, join};
use time::OffsetDateTime;

use super::HEARTBEAT_INTERVAL;

use crate::access::Principal;
use crate::document::{Job, JobStage, JobState, WorkerId};
use crate::ingest::fsck::{FsckReport, RepairOptions};
use crate::ingest::{IngestSettings, JobOutcome, UploadSharing};
use crate::seam::Catalogue;
use crate::seam::catalogue::{BeginOutcome, RequeueOutcome};
use crate::seam::fake::faults::Faults;
use crate::seam::fake::{ENDLESS, House, WORKER, writer};

/// Turns given to the work beside.
const TURNS: usize = 100;
const STORY: &str = "The lamp stands on the table. It burns all night.";

async fn queued(house: &House, caller: &Principal, text: &str) -> Job {
    match house.accept(caller, "x.txt", &["everyone"], text).await {
        BeginOutcome::Started(_, job) => job,
        other => panic!("a version was to start: {other:?}"),
    }
}

async fn now(house: &House, caller: &Principal, job: &Job) -> Job {
    let found = house.catalogue.get_job(&caller.scope(), job.id).await.unwrap();
    found.unwrap()
}

/// Lets the worker beside work until the job is in this stage.
async fn reaches(house: &House, caller: &Principal, job: &Job, stage: JobStage) {
    while now(house, caller, job).await.stage != stage {
        tokio::task::yield_now().await;
    }
}

/// Works on `job` until it hangs in `stage`, does `then`, and lets the worker's heart beat once.
async fn stopped(
    house: &House,
    caller: &Principal,
    job: &Job,
    stage: JobStage,
    then: impl AsyncFnOnce(),
) -> JobOutcome {
    let beside = async {
        reaches(house, caller, job, stage).await;
        then().await;
        house.wait(1);
    };
    let (ended, ()) = join!(house.ingestor.runner().run_next(WORKER), beside);
    ended.unwrap().unwrap().1
}

#[tokio::test]
async fn a_cancelled_job_is_dropped_at_any_stage_and_leaves_only_the_original() {
    for (text, stage) in [(ENDLESS, JobStage::Parse), (STORY, JobStage::Embed)] {
        let (house, caller) = (House::new(), writer("a", &[]));
        house.embedder.hang(true);
        let job = queued(&house, &caller, text).await;
        let cancel = async || {
            let at = house.ingestor.current_moment().wall;
            house.catalogue.cancel_job(&caller.scope(), job.id, at).await.unwrap();
        };
        assert_eq!(stopped(&house, &caller, &job, stage, cancel).await, JobOutcome::Stale);
        assert_eq!(now(&house, &caller, &job).await.state, JobState::Cancelled);
        let left = (house.index.count_points().await.unwrap(), house.blob_count().await);
        assert_eq!(left, (0, 1), "{stage}");
    }
}

/// Where a job stands when it is cancelled.
#[derive(Debug, Clone, Copy)]
enum At {
    /// The parser does not come back.
    Parsing,
    /// A page is read back to be split.
    Splitting,
    /// The embedder does not come back.
    Embedding,
    /// A batch is about to be stored.
    Storing,
    /// All is stored, and the row about to flip.
    Publishing,
}

impl At {
    /// The call of a store before which the cancel comes; none where the work hangs by itself.
    fn call(self) -> Option<(usize, &'static str)> {
        match self {
            Self::Parsing | Self::Embedding => None,
            // The first one is the parser's.
            Self::Splitting => Some((2, "get")),
            Self::Storing => Some((1, "upsert_points")),
            Self::Publishing => Some((1, "publish_generation")),
        }
    }

    fn stage(self) -> JobStage {
        match self {
            Self::Parsing => JobStage::Parse,
            Self::Splitting => JobStage::Split,
            Self::Embedding | Self::Storing => JobStage::Embed,
            Self::Publishing => JobStage::Publish,
        }
    }
}

#[tokio::test]
async fn a_cancel_at_each_stage_leaves_the_stores_in_agreement_and_a_delete_leaves_nothing() {
    for at in [At::Parsing, At::Splitting, At::Embedding, At::Storing, At::Publishing] {
        let faults = Arc::new(Faults::default());
        let (house, caller) = (House::failing(&faults), writer("a", &[]));
        let text = if matches!(at, At::Parsing) { ENDLESS } else { STORY };
        house.embedder.hang(matches!(at, At::Embedding));
        let job = queued(&house, &caller, text).await;
        let (catalogue, scope, id) = (house.catalogue.clone(), caller.scope(), job.id);
        let cancelled = async move {
            let running = catalogue.get_job(&scope, id).await.unwrap().unwrap();
            assert_eq!(running.stage, at.stage(), "{at:?}");
            let wall = OffsetDateTime::UNIX_EPOCH;
            let job = catalogue.cancel_job(&scope, id, wall).await.unwrap().unwrap();
            assert_eq!(job.state, JobState::Cancelled);
        };
        let outcome = match at.call() {
            Some((n, call)) => {
                faults.before(n, call, cancelled.boxed());
                house.ingestor.runner().run_next(WORKER).await.unwrap().unwrap().1
            }
            None => stopped(&house, &caller, &job, at.stage(), async || cancelled.await).await,
        };
        assert_eq!(outcome, JobOutcome::Stale, "{at:?}");
        let report = house
            .ingestor
            .consistency()
            .run_fsck(RepairOptions::default(), UploadSharing::Exclusive)
            .await
            .unwrap();
        assert!(
            report.orphans.is_empty() && report.pending.is_empty(),
            "{at:?}: {report:#?}"
        );
        assert_eq!((report.documents, report.chunks), (1, 0), "{at:?}");
        house
            .ingestor
            .uploads()
            .delete_document(&caller, job.document_id.unwrap())
            .await
            .unwrap();
        assert_eq!(house.work().await, [JobOutcome::Succeeded], "{at:?}");
        let left = (house.index.count_points().await.unwrap(), house.blob_count().await);
        assert_eq!(left, (0, 0), "{at:?}");
        assert!(house.embeddings.is_empty(), "{at:?}");
        let report = house
            .ingestor
            .consistency()
            .run_fsck(RepairOptions::default(), UploadSharing::Exclusive)
            .await
            .unwrap();
        assert_eq!(report, FsckReport::default(), "{at:?}");
    }
}

/// The event that ends the work is the first heartbeat after the cancel, and one comes every [`HEARTBEAT_INTERVAL`].
#[tokio::test]
async fn a_cancel_is_seen_by_the_next_heartbeat() {
    assert!(HEARTBEAT_INTERVAL < Duration::from_millis(500), "twice within a second");
    let (house, caller) = (House::new(), writer("a", &[]));
    house.embedder.hang(true);
    let job = queued(&house, &caller, STORY).await;
    let claim = house.ingestor.runner().claim_job(WORKER).await.unwrap().unwrap();
    let events = RefCell::new(Vec::new());
    let work = async {
        let outcome = house.ingestor.runner().run_job(&claim, std::future::pending()).await;
        events.borrow_mut().push("ended");
        outcome.unwrap()
    };
    let beside = async {
        reaches(&house, &caller, &job, JobStage::Embed).await;
        house.wait(1);
        reaches_rest(&house).await;
        events.borrow_mut().push("a heartbeat before");
        let at = house.ingestor.current_moment().wall;
        house.catalogue.cancel_job(&caller.scope(), job.id, at).await.unwrap();
        reaches_rest(&house).await;
        events.borrow_mut().push("cancelled");
        house.wait(1);
    };
    let (outcome, ()) = join!(work, beside);
    assert_eq!(outcome, JobOutcome::Stale);
    assert_eq!(events.into_inner(), ["a heartbeat before", "cancelled", "ended"]);
}

/// Gives the others turns until all that they can do without time passing is done.
async fn reaches_rest(house: &House) {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    assert!(house.hands.sleepers() > 0, "the heart waits for its next beat");
}

#[tokio::test]
async fn what_was_cancelled_can_be_driven_again() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.embedder.hang(true);
    let job = queued(&house, &caller, STORY).await;
    let at = house.ingestor.current_moment().wall;
    let cancel = async || drop(house.catalogue.cancel_job(&caller.scope(), job.id, at).await.unwrap());
    stopped(&house, &caller, &job, JobStage::Embed, cancel).await;
    house.embedder.hang(false);
    let again = house.catalogue.requeue_job(&caller.scope(), job.id, at).await.unwrap();
    assert!(matches!(again, Some(RequeueOutcome::Queued(_))), "{again:?}");
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert_eq!(house.blob_count().await, 2, "the original and its text");
}

#[tokio::test]
async fn a_replaced_or_deleted_version_leaves_nothing() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let job = queued(&house, &caller, ENDLESS).await;
    let replace = async || drop(queued(&house, &caller, "another text").await);
    assert_eq!(
        stopped(&house, &caller, &job, JobStage::Parse, replace).await,
        JobOutcome::Stale
    );
    assert_eq!(house.blob_count().await, 1, "what the new version was accepted as");

    let (house, caller) = (House::new(), writer("a", &[]));
    let job = queued(&house, &caller, ENDLESS).await;
    let id = job.document_id.unwrap();
    let delete = async || {
        house.delete(&caller, id).await;
        assert_eq!(
            house.work().await,
            [JobOutcome::Succeeded],
            "the purge overtakes the worker"
        );
    };
    assert_eq!(
        stopped(&house, &caller, &job, JobStage::Parse, delete).await,
        JobOutcome::Stale
    );
    assert_eq!(house.blob_count().await, 0);
    assert_eq!(house.record_count().await, 0);
}

#[tokio::test]
async fn a_job_that_was_taken_over_is_the_other_workers() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.embedder.hang(true);
    let job = queued(&house, &caller, STORY).await;
    let other = WorkerId { process: 1, number: 2 };
    let lease = IngestSettings::default().lease;
    let mut taken = None;
    let take_over = async || {
        let mut later = house.ingestor.current_moment();
        later.steady += lease;
        taken = house.catalogue.claim_job(other, lease, later).await.unwrap();
    };
    assert_eq!(
        stopped(&house, &caller, &job, JobStage::Embed, take_over).await,
        JobOutcome::Stale
    );
    house.embedder.hang(false);
    let taken = taken.expect("the lease ran out");
    assert_eq!(taken.job.id, job.id);
    let outcome = house
        .ingestor
        .runner()
        .run_job(&taken, std::future::pending())
        .await
        .unwrap();
    assert_eq!(outcome, JobOutcome::Succeeded);
    let generations = house.index.list_generations(job.document_id).await.unwrap();
    let [((_, generation), _)] = generations[..] else {
        panic!("one generation: {generations:?}")
    };
    assert_eq!((generation, house.blob_count().await), (taken.lease.generation, 2));
}

#[tokio::test]
async fn an_attempt_without_progress_is_given_up_and_tried_again() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.embedder.hang(true);
    let job = queued(&house, &caller, STORY).await;
    let stall = async || house.wait(IngestSettings::default().stall.as_secs());
    let outcome = stopped(&house, &caller, &job, JobStage::Embed, stall).await;
    assert!(
        matches!(&outcome, JobOutcome::Retried(error) if error.code == "stalled"),
        "{outcome:?}"
    );
    assert_eq!(house.index.count_points().await.unwrap(), 0);
    house.embedder.hang(false);
    house.wait(3);
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_hands_its_job_back() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.embedder.hang(true);
    let job = queued(&house, &caller, STORY).await;
    let claim = house.ingestor.runner().claim_job(WORKER).await.unwrap().unwrap();
    let told = reaches(&house, &caller, &job, JobStage::Embed);
    let outcome = house.ingestor.runner().run_job(&claim, told).await.unwrap();
    assert_eq!(outcome, JobOutcome::HandedBack);
    let waiting = now(&house, &caller, &job).await;
    assert_eq!((waiting.state, waiting.attempts), (JobState::Queued, 0));
    assert_eq!(house.index.count_points().await.unwrap(), 0);
    house.embedder.hang(false);
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
}

#[tokio::test]
async fn only_errors_spend_the_budget() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.embedder.hang(true);
    queued(&house, &caller, STORY).await;
    for _ in 0..2 * IngestSettings::default().max_attempts {
        house.ingestor.runner().claim_job(WORKER).await.unwrap().unwrap();
        house.wait(IngestSettings::default().lease.as_secs());
        let claim = house.ingestor.runner().claim_job(WORKER).await.unwrap().unwrap();
        assert_eq!(claim.failures, 0);
        let outcome = house.ingestor.runner().run_job(&claim, std::future::ready(())).await;
        assert_eq!(outcome.unwrap(), JobOutcome::HandedBack);
    }
    house.embedder.hang(false);
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
}
