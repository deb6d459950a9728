//! Contract of every catalogue: which ended jobs are removed, and which must be kept.

use std::future::Future;

use super::catalogue::{Shared, at, claim, job_id, moment, next, open, problem, publish_next, reader, start, version};
use super::sample::tenant;
use crate::document::{Job, JobCounts, JobState};
use crate::id::JobId;
use crate::seam::catalogue::{NewVersion, RequeueOutcome};

/// The part of the catalogue's suite about jobs that ended long ago.
pub(super) async fn ended_jobs_contract<F: Future<Output = Shared>>(make: &impl Fn() -> F) {
    what_ended_long_ago_goes(make().await).await;
    what_can_be_driven_again_stays(make().await).await;
    a_batch_goes_with_its_children(make().await).await;
    no_more_than_asked_goes_at_once(make().await).await;
}

async fn found(catalogue: &Shared, n: u128) -> Option<Job> {
    catalogue.get_job(&reader(), job_id(n)).await.expect("an answer")
}

/// Removes until nothing is left to be removed; says how many went.
async fn remove(catalogue: &Shared, before: i64) -> u64 {
    let mut all = 0;
    loop {
        match catalogue.remove_ended_jobs(at(before), 100).await.expect("an answer") {
            0 => return all,
            gone => all += gone,
        }
    }
}

/// Begins a version and fails it.
async fn fail(catalogue: &Shared, version: NewVersion, job: u128, seconds: i64) {
    start(catalogue, &reader(), version, job, seconds).await;
    let claimed = claim(catalogue, seconds).await;
    let failed = catalogue.fail_job(&claimed.lease, problem("no_text"), at(seconds));
    failed.await.expect("failed");
}

async fn publish(catalogue: &Shared, version: NewVersion, job: u128, seconds: i64) {
    start(catalogue, &reader(), version, job, seconds).await;
    publish_next(catalogue, "T", seconds).await;
}

async fn what_ended_long_ago_goes(catalogue: Shared) {
    publish(&catalogue, version(&open(), "old", "one"), 1, 1).await;
    publish(&catalogue, version(&open(), "new", "one"), 2, 100).await;
    start(&catalogue, &reader(), version(&open(), "runs", "one"), 3, 1).await;
    claim(&catalogue, 101).await;
    start(&catalogue, &reader(), version(&open(), "waits", "one"), 4, 1).await;
    assert_eq!(remove(&catalogue, 1).await, 0, "nothing ended before");
    assert_eq!(remove(&catalogue, 50).await, 1);
    assert_eq!(found(&catalogue, 1).await, None);
    for n in [2, 3, 4] {
        assert!(found(&catalogue, n).await.is_some(), "job {n}");
    }
    let counts = catalogue.count_jobs(&tenant("a")).await.expect("an answer");
    let expected = JobCounts {
        queued: 1,
        running: 1,
        succeeded: 1,
        ..JobCounts::default()
    };
    assert_eq!(counts, expected);
    // A deleted document needs none of its jobs.
    let new = version(&open(), "new", "one").document_id();
    let purge = catalogue.tombstone_document(&reader(), new, job_id(5), at(102)).await;
    assert!(purge.expect("an answer").is_some());
    let purge = claim(&catalogue, 103).await;
    // The one that waits comes first.
    let purge = match purge.job.id == job_id(5) {
        true => purge,
        false => claim(&catalogue, 103).await,
    };
    catalogue.finish_purge(&purge.lease, at(104)).await.expect("purged");
    assert_eq!(remove(&catalogue, 1_000).await, 2, "its ingestion and its purge");
    assert_eq!((found(&catalogue, 2).await, found(&catalogue, 5).await), (None, None));
}

async fn what_can_be_driven_again_stays(catalogue: Shared) {
    fail(&catalogue, version(&open(), "x", "one"), 1, 1).await;
    fail(&catalogue, version(&open(), "y", "one"), 2, 2).await;
    publish(&catalogue, version(&open(), "y", "two"), 3, 3).await;
    start(&catalogue, &reader(), version(&open(), "z", "one"), 4, 4).await;
    catalogue
        .cancel_job(&reader(), job_id(4), at(4))
        .await
        .expect("cancelled");
    // A failure that a newer version made good goes, and what made it good goes not before it.
    assert_eq!(remove(&catalogue, 3).await, 1);
    assert_eq!(found(&catalogue, 2).await, None);
    assert_eq!(remove(&catalogue, 1_000).await, 1);
    for (n, stays) in [(1, true), (3, false), (4, true)] {
        assert_eq!(found(&catalogue, n).await.is_some(), stays, "job {n}");
    }
    for n in [1, 4] {
        let again = catalogue
            .requeue_job(&reader(), job_id(n), at(50))
            .await
            .expect("an answer");
        assert!(matches!(again, Some(RequeueOutcome::Queued(_))), "{again:?}");
    }
    assert_eq!(remove(&catalogue, 1_000).await, 0, "they wait");
}

fn of_batch(batch: u128, uri: &str) -> NewVersion {
    NewVersion {
        batch: Some(JobId(uuid::Uuid::from_u128(batch))),
        ..version(&open(), uri, "one")
    }
}

async fn a_batch_goes_with_its_children(catalogue: Shared) {
    publish(&catalogue, of_batch(100, "x"), 1, 1).await;
    publish(&catalogue, of_batch(100, "y"), 2, 60).await;
    fail(&catalogue, of_batch(200, "z"), 3, 2).await;
    publish(&catalogue, of_batch(200, "w"), 4, 3).await;
    assert_eq!(
        remove(&catalogue, 50).await,
        0,
        "one of its children is young, one can be driven again"
    );
    for (n, children) in [(100, 2), (200, 2)] {
        let batch = found(&catalogue, n).await.expect("the batch");
        assert_eq!(batch.children.expect("its children").total(), children);
    }
    assert_eq!(remove(&catalogue, 1_000).await, 3, "a batch and both of its children");
    for n in [100, 1, 2] {
        assert_eq!(found(&catalogue, n).await, None, "job {n}");
    }
    let kept = found(&catalogue, 200).await.expect("the batch");
    assert_eq!(
        (kept.state, kept.children.expect("its children").total()),
        (JobState::Failed, 2)
    );
    let again = catalogue
        .requeue_job(&reader(), job_id(200), at(70))
        .await
        .expect("an answer");
    assert!(matches!(again, Some(RequeueOutcome::Queued(_))), "{again:?}");
    let claimed = next(&catalogue, moment(71)).await.expect("it waits");
    assert_eq!(claimed.job.id, job_id(3));
}

async fn no_more_than_asked_goes_at_once(catalogue: Shared) {
    for n in 1..=5 {
        publish(&catalogue, version(&open(), &n.to_string(), "one"), n, 1).await;
    }
    let remove = async || catalogue.remove_ended_jobs(at(1_000), 2).await.expect("an answer");
    assert_eq!(
        [remove().await, remove().await, remove().await, remove().await],
        [2, 2, 1, 0]
    );
}
