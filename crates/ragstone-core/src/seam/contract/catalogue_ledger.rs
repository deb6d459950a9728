//! Contract of every catalogue: the job ledger with leases, deaths, fair turns, batches and retries.

use std::future::Future;
use std::time::Duration;

use super::catalogue::{
    LEASE, Shared, WORKER, at, claim, document, job, job_id, made, moment, next, open, problem, publish_next, reader,
    start, version, whole_page,
};
use super::sample::{acl, caller, tenant};
use crate::document::{DocumentStatus, Job, JobCounts, JobKind, JobStage, JobState, WorkerId};
use crate::id::JobId;
use crate::seam::catalogue::{
    BeginOutcome, CatalogueError, CatalogueResult, ClockReading, JobFilter, JobLease, JobProgress, MAX_DEATHS,
    NewVersion, OriginalLocation, RequeueOutcome, RetryDelay, SUSPECT_TURNS, StatisticsDelta, suspect_wait,
};

/// The part of the catalogue's suite that is about jobs.
pub async fn ledger_contract<F: Future<Output = Shared>>(make: &impl Fn() -> F) {
    what_ran_is_taken_back_at_start(make().await).await;
    one_of_many_workers_wins(make().await).await;
    a_lease_runs_out_unless_it_is_extended(make().await).await;
    a_clock_that_steps_stalls_nothing(make().await).await;
    five_deaths_alone_poison(make().await).await;
    innocents_go_before_suspects(make().await).await;
    a_suspect_runs_alone(make().await).await;
    a_suspect_that_gets_further_is_none_any_more(make().await).await;
    a_suspect_lets_only_so_many_go_first(make().await).await;
    a_worker_that_is_gone_leaves_a_suspect(make().await).await;
    errors_are_counted_apart_from_deaths(make().await).await;
    an_outage_counts_as_an_attempt_and_not_as_a_failure(make().await).await;
    what_is_handed_back_is_not_spent(make().await).await;
    progress_goes_forward(make().await).await;
    sources_take_turns(make().await).await;
    tries_again_take_their_turn(make().await).await;
    what_failed_is_driven_again(make().await).await;
    what_cannot_be_driven_again(make().await).await;
    a_batch_is_as_its_children_are(make().await).await;
    a_batch_is_cancelled_and_driven_again_whole(make().await).await;
    a_batch_is_its_callers(make().await).await;
    jobs_are_counted_by_state(make().await).await;
    originals_are_where_the_newest_begin_has_them(make().await).await;
}

fn is_stale<T: std::fmt::Debug>(answer: CatalogueResult<T>) {
    assert!(matches!(answer, Err(CatalogueError::Stale)), "{answer:?}");
}

async fn note(catalogue: &Shared, lease: &JobLease, stage: JobStage, done: u64, total: u64, now: ClockReading) {
    let progress = JobProgress { stage, done, total };
    catalogue.record_progress(lease, progress, now).await.expect("noted");
}

fn from_source(source: &str, uri: &str) -> NewVersion {
    NewVersion {
        source: source.parse().expect("a name"),
        ..version(&open(), uri, "one")
    }
}

fn of_batch(batch: u128, uri: &str) -> NewVersion {
    NewVersion {
        batch: Some(job_id(batch)),
        ..version(&open(), uri, "one")
    }
}

async fn an_outage_counts_as_an_attempt_and_not_as_a_failure(catalogue: Shared) {
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let mut seconds = 1;
    for (spends, failures) in [(false, 0), (true, 1), (false, 1), (true, 2)] {
        let taken = claim(&catalogue, seconds).await;
        let wait = RetryDelay {
            delay: Duration::from_secs(5),
            counts_as_failure: spends,
        };
        catalogue
            .schedule_retry(&taken.lease, problem("away"), wait, moment(seconds as u64))
            .await
            .expect("queued");
        assert!(
            next(&catalogue, moment(seconds as u64 + 4)).await.is_none(),
            "it waits either way"
        );
        seconds += 5;
        let again = claim(&catalogue, seconds).await;
        assert_eq!(again.failures, failures);
        catalogue.release_job(&again.lease, at(seconds)).await.expect("queued");
    }
    assert_eq!(job(&catalogue, 1).await.attempts, 4);
}

async fn what_ran_is_taken_back_at_start(catalogue: Shared) {
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let lost = claim(&catalogue, 1).await;
    assert_eq!(job(&catalogue, 1).await.worker, Some(WORKER));
    assert_eq!(
        catalogue.requeue_interrupted_jobs(moment(2)).await.expect("an answer"),
        1
    );
    assert_eq!(
        catalogue.requeue_interrupted_jobs(moment(2)).await.expect("an answer"),
        0
    );
    assert_eq!(job(&catalogue, 1).await.worker, None);
    is_stale(catalogue.mark_original_stored(&lost.lease).await);
    let again = claim(&catalogue, 3).await;
    assert_eq!((again.job.id, again.lease.attempt), (job_id(1), 2));
}

async fn one_of_many_workers_wins(catalogue: Shared) {
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let claims = (0..8).map(|number| {
        let worker = WorkerId { process: 1, number };
        catalogue.claim_job(worker, LEASE, moment(1))
    });
    let claims = futures::future::join_all(claims).await;
    let won = claims.into_iter().filter_map(|claim| claim.expect("an answer"));
    assert_eq!(won.count(), 1);
}

async fn a_lease_runs_out_unless_it_is_extended(catalogue: Shared) {
    let lease = Duration::from_secs(10);
    let other = WorkerId { process: 1, number: 2 };
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let taken = catalogue.claim_job(WORKER, lease, moment(0)).await.expect("an answer");
    let slow = taken.expect("a job waits").lease;
    note(&catalogue, &slow, JobStage::Parse, 0, 1, moment(3)).await;
    let idle = catalogue.extend_lease(&slow, lease, moment(8)).await;
    assert_eq!(idle.expect("it holds"), Duration::from_secs(5));
    let claimed = catalogue.claim_job(other, lease, moment(17)).await;
    assert!(claimed.expect("an answer").is_none(), "the heartbeat extended it");
    let claimed = catalogue.claim_job(other, lease, moment(18)).await;
    let current = claimed.expect("an answer").expect("it ran out");
    assert_eq!((current.job.id, current.job.worker), (job_id(1), Some(other)));
    assert!(current.lease.generation > slow.generation);

    let late = made("Late", StatisticsDelta::default());
    is_stale(catalogue.extend_lease(&slow, lease, moment(19)).await);
    is_stale(catalogue.mark_original_stored(&slow).await);
    is_stale(catalogue.publish_version(&slow, late, at(19)).await);
    is_stale(catalogue.fail_job(&slow, problem("late"), at(19)).await);
    is_stale(catalogue.release_job(&slow, at(19)).await);
    assert_eq!(job(&catalogue, 1).await.state, JobState::Running);
    let made = made("Good", StatisticsDelta::default());
    catalogue
        .publish_version(&current.lease, made, at(20))
        .await
        .expect("the other one publishes");
}

async fn a_clock_that_steps_stalls_nothing(catalogue: Shared) {
    let stepped = |wall: i64, steady: u64| ClockReading {
        wall: at(wall),
        steady: Duration::from_secs(steady),
    };
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let first = claim(&catalogue, 1).await;
    let wait = Duration::from_secs(9);
    catalogue
        .schedule_retry(
            &first.lease,
            problem("busy"),
            RetryDelay::after_failure(wait),
            moment(1),
        )
        .await
        .expect("queued");
    assert!(
        next(&catalogue, stepped(1_000_000, 9)).await.is_none(),
        "a clock set forward shortens no wait"
    );
    let second = next(&catalogue, stepped(-1_000_000, 10)).await;
    let second = second.expect("a clock set back delays nothing");
    assert!(
        next(&catalogue, stepped(1_000_000, 11)).await.is_none(),
        "nor does it end a lease"
    );
    catalogue
        .schedule_retry(
            &second.lease,
            problem("busy"),
            RetryDelay::after_failure(wait),
            stepped(0, 100),
        )
        .await
        .expect("queued");
    // A new process: its steady time begins again, and its wall may be anywhere.
    catalogue
        .requeue_interrupted_jobs(stepped(-1_000_000, 0))
        .await
        .expect("an answer");
    assert!(next(&catalogue, stepped(-1_000_000, 8)).await.is_none());
    assert!(
        next(&catalogue, stepped(-1_000_000, 9)).await.is_some(),
        "no wait is longer than it was"
    );
}

/// The process dies; the next one begins at `seconds`.
async fn die(catalogue: &Shared, seconds: u64) -> u64 {
    catalogue
        .requeue_interrupted_jobs(moment(seconds))
        .await
        .expect("an answer")
}

async fn five_deaths_alone_poison(catalogue: Shared) {
    let (pending, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let mut seconds = 1;
    for death in 1..=MAX_DEATHS {
        let taken = claim(&catalogue, seconds as i64).await;
        assert_eq!(taken.poisoned, None, "death {death}");
        note(&catalogue, &taken.lease, JobStage::Embed, 4, 10, moment(seconds)).await;
        assert_eq!(die(&catalogue, seconds).await, 1);
        if death < MAX_DEATHS {
            let wait = suspect_wait(death).as_secs();
            let early = next(&catalogue, moment(seconds + wait - 1)).await;
            assert!(early.is_none(), "it waits {wait} s after death {death}");
            seconds += wait;
        }
    }
    let taken = claim(&catalogue, seconds as i64).await;
    let error = taken.poisoned.expect("it is to be ended");
    assert_eq!(error.code, "poisoned");
    let said = error.detail.contains("embed after 4 units") && error.hint.contains("ragstone job retry");
    assert!(said, "{error:?}");
    let ended = catalogue.fail_job(&taken.lease, error.clone(), at(1_000)).await;
    ended.expect("failed");
    let left = document(&catalogue, pending.id).await;
    assert_eq!(left.status, DocumentStatus::Failed);
    assert_eq!(left.last_error, Some(error));
    assert!(next(&catalogue, moment(1_000_000)).await.is_none());

    // Driven again it is counted anew, and still runs alone.
    let again = redriven(&catalogue, 1, 1_000_000).await;
    assert!(matches!(again, RequeueOutcome::Queued(_)), "{again:?}");
    start(&catalogue, &reader(), version(&open(), "y", "one"), 2, 1_000_000).await;
    assert_eq!(claim(&catalogue, 1_000_001).await.job.id, job_id(2));
    assert!(next(&catalogue, moment(1_000_001)).await.is_none());
    assert_eq!(die(&catalogue, 1_000_002).await, 1);
    let again = claim(&catalogue, 1_000_002).await;
    assert_eq!((again.job.id, again.poisoned), (job_id(1), None));
}

async fn innocents_go_before_suspects(catalogue: Shared) {
    const MANY: u128 = 13;
    for n in 1..=MANY {
        let new = version(&open(), &format!("{n}"), "one");
        start(&catalogue, &reader(), new, n, 0).await;
    }
    // Each process works on four jobs and dies: who was never at work comes first.
    for (round, expected) in [(1, 1..5), (2, 5..9), (3, 9..13)] {
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(claim(&catalogue, round).await.job.id);
        }
        assert_eq!(taken, expected.map(job_id).collect::<Vec<_>>());
        assert_eq!(die(&catalogue, round as u64).await, 4);
    }
    let last = claim(&catalogue, 4).await;
    assert_eq!(last.job.id, job_id(13), "the last innocent");
    let made_last = made("T", StatisticsDelta::default());
    catalogue
        .publish_version(&last.lease, made_last, at(4))
        .await
        .expect("published");
    for n in 1..MANY {
        let taken = claim(&catalogue, 5).await;
        assert_eq!(taken.job.id, job_id(n), "in their old order");
        let made = made("T", StatisticsDelta::default());
        catalogue
            .publish_version(&taken.lease, made, at(5))
            .await
            .expect("published");
    }
    assert!(next(&catalogue, moment(1_000_000)).await.is_none());
}

async fn a_suspect_runs_alone(catalogue: Shared) {
    for n in 1..=2 {
        let new = version(&open(), &format!("{n}"), "one");
        start(&catalogue, &reader(), new, n, 0).await;
    }
    let both = [claim(&catalogue, 1).await, claim(&catalogue, 1).await];
    note(&catalogue, &both[0].lease, JobStage::Embed, 4, 10, moment(1)).await;
    assert_eq!(die(&catalogue, 2).await, 2);
    start(&catalogue, &reader(), version(&open(), "3", "one"), 3, 2).await;
    let innocent = claim(&catalogue, 3).await;
    assert_eq!(innocent.job.id, job_id(3));
    assert!(next(&catalogue, moment(4)).await.is_none(), "not beside another");
    catalogue.release_job(&innocent.lease, at(4)).await.expect("queued");
    let innocent = claim(&catalogue, 4).await;
    let error = problem("no_text");
    catalogue.fail_job(&innocent.lease, error, at(5)).await.expect("failed");
    let alone = claim(&catalogue, 6).await;
    assert_eq!(alone.job.id, job_id(1));
    start(&catalogue, &reader(), version(&open(), "4", "one"), 4, 6).await;
    assert!(next(&catalogue, moment(6)).await.is_none(), "nothing beside a suspect");
    // Who dies alone waits; the other suspect was never blamed, and does not.
    assert_eq!(die(&catalogue, 7).await, 1);
    let innocent = claim(&catalogue, 7).await;
    assert_eq!(innocent.job.id, job_id(4));
    let error = problem("no_text");
    catalogue.fail_job(&innocent.lease, error, at(7)).await.expect("failed");
    assert_eq!(claim(&catalogue, 7).await.job.id, job_id(2));
}

async fn a_suspect_that_gets_further_is_none_any_more(catalogue: Shared) {
    for n in 1..=2 {
        let new = version(&open(), &format!("{n}"), "one");
        start(&catalogue, &reader(), new, n, 0).await;
    }
    let both = [claim(&catalogue, 1).await, claim(&catalogue, 1).await];
    note(&catalogue, &both[0].lease, JobStage::Embed, 4, 10, moment(1)).await;
    assert_eq!(die(&catalogue, 2).await, 2);
    let suspect = claim(&catalogue, 2).await;
    assert_eq!(suspect.job.id, job_id(1));
    start(&catalogue, &reader(), version(&open(), "3", "one"), 3, 2).await;
    note(&catalogue, &suspect.lease, JobStage::Embed, 4, 10, moment(3)).await;
    assert!(next(&catalogue, moment(3)).await.is_none(), "as far as before");
    note(&catalogue, &suspect.lease, JobStage::Embed, 5, 10, moment(3)).await;
    assert_eq!(claim(&catalogue, 3).await.job.id, job_id(3), "beside it");
    assert!(
        next(&catalogue, moment(3)).await.is_none(),
        "the other one is a suspect still"
    );
}

async fn a_suspect_lets_only_so_many_go_first(catalogue: Shared) {
    start(&catalogue, &reader(), from_source("one", "x"), 1, 0).await;
    start(&catalogue, &reader(), from_source("two", "y"), 2, 0).await;
    claim(&catalogue, 1).await;
    claim(&catalogue, 1).await;
    assert_eq!(die(&catalogue, 2).await, 2);
    let mut others = 0;
    let beside = loop {
        let n = 10 + u128::from(others);
        start(&catalogue, &reader(), from_source("many", &format!("{n}")), n, 2).await;
        let taken = claim(&catalogue, 3).await;
        if taken.job.id != job_id(n) {
            break taken;
        }
        others += 1;
        assert!(others <= 2 * SUSPECT_TURNS, "it comes once");
        let error = problem("no_text");
        catalogue.fail_job(&taken.lease, error, at(3)).await.expect("failed");
    };
    assert_eq!(beside.job.id, job_id(1));
    assert!(others >= SUSPECT_TURNS, "{others}");
    assert!(next(&catalogue, moment(3)).await.is_none());
}

async fn a_worker_that_is_gone_leaves_a_suspect(catalogue: Shared) {
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    claim(&catalogue, 0).await;
    let out = LEASE.as_secs() as i64;
    start(&catalogue, &reader(), version(&open(), "y", "one"), 2, out).await;
    let innocent = claim(&catalogue, out).await;
    assert_eq!(innocent.job.id, job_id(2), "the lease of the first ran out");
    let error = problem("no_text");
    catalogue
        .fail_job(&innocent.lease, error, at(out))
        .await
        .expect("failed");
    // Who knows what ran beside it the first time; from then on nothing does.
    let mut seconds = out as u64;
    for death in 1..MAX_DEATHS {
        assert_eq!(claim(&catalogue, seconds as i64).await.job.id, job_id(1));
        seconds += LEASE.as_secs();
        assert!(next(&catalogue, moment(seconds)).await.is_none(), "death {death}");
        seconds += suspect_wait(death).as_secs();
    }
    assert_eq!(claim(&catalogue, seconds as i64).await.poisoned, None);
    seconds += LEASE.as_secs();
    let condemned = claim(&catalogue, seconds as i64).await;
    assert!(condemned.poisoned.is_some(), "{:?}", condemned.job);
}

async fn errors_are_counted_apart_from_deaths(catalogue: Shared) {
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let first = claim(&catalogue, 1).await;
    assert_eq!(first.failures, 0);
    die(&catalogue, 1).await;
    let second = claim(&catalogue, 2).await;
    assert_eq!((second.failures, second.job.attempts), (0, 2), "a death is no error");
    catalogue
        .schedule_retry(
            &second.lease,
            problem("busy"),
            RetryDelay::after_failure(Duration::ZERO),
            moment(2),
        )
        .await
        .expect("queued");
    let third = claim(&catalogue, 3).await;
    assert_eq!((third.failures, third.job.attempts), (1, 3));
}

async fn what_is_handed_back_is_not_spent(catalogue: Shared) {
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    start(&catalogue, &reader(), version(&open(), "y", "one"), 2, 0).await;
    let mut leases = Vec::new();
    for _ in 0..2 * MAX_DEATHS {
        let taken = claim(&catalogue, 1).await;
        assert_eq!((taken.job.id, taken.job.attempts), (job_id(1), 1), "it keeps its place");
        catalogue.release_job(&taken.lease, at(1)).await.expect("handed back");
        let waiting = job(&catalogue, 1).await;
        assert_eq!((waiting.state, waiting.attempts), (JobState::Queued, 0));
        leases.push(taken.lease);
    }
    claim(&catalogue, 2).await;
    for lease in leases {
        is_stale(catalogue.release_job(&lease, at(2)).await);
    }
}

async fn progress_goes_forward(catalogue: Shared) {
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let taken = claim(&catalogue, 0).await;
    note(&catalogue, &taken.lease, JobStage::Embed, 0, 100, moment(10)).await;
    note(&catalogue, &taken.lease, JobStage::Embed, 40, 100, moment(20)).await;
    let told = job(&catalogue, 1).await;
    assert_eq!(
        (told.done, told.rate, told.seconds_remaining()),
        (40, Some(4.0), Some(15.0))
    );
    note(&catalogue, &taken.lease, JobStage::Embed, 30, 100, moment(21)).await;
    note(&catalogue, &taken.lease, JobStage::Parse, 0, 1, moment(21)).await;
    assert_eq!(job(&catalogue, 1).await, told, "what comes late changes nothing");
    catalogue.requeue_interrupted_jobs(moment(0)).await.expect("an answer");
    let waiting = job(&catalogue, 1).await;
    assert_eq!((waiting.done, waiting.total, waiting.rate), (40, 100, None));
    let again = claim(&catalogue, 1).await;
    note(&catalogue, &again.lease, JobStage::Embed, 10, 100, moment(2)).await;
    assert_eq!(job(&catalogue, 1).await.done, 40, "what is embedded stays so");
    let made = made("T", StatisticsDelta::default());
    catalogue
        .publish_version(&again.lease, made, at(3))
        .await
        .expect("published");
    let ended = job(&catalogue, 1).await;
    assert_eq!((ended.done, ended.total, ended.rate), (100, 100, None));
}

async fn sources_take_turns(catalogue: Shared) {
    const MANY: u128 = 1_000;
    for n in 0..MANY {
        start(&catalogue, &reader(), from_source("many", &format!("{n}")), 10 + n, 0).await;
    }
    start(&catalogue, &reader(), from_source("one", "x"), 1, 1).await;
    let mut taken = Vec::new();
    for _ in 0..2 {
        taken.push(claim(&catalogue, 2).await.job.id);
    }
    assert_eq!(taken, [job_id(10), job_id(1)], "the other source is next");
    for n in 1..500 {
        assert_eq!(claim(&catalogue, 3).await.job.id, job_id(10 + n), "in their order");
    }
    let theirs = NewVersion {
        source: "many".parse().expect("a name"),
        ..version(&acl("b", &[&["everyone"]]), "x", "one")
    };
    start(&catalogue, &caller("b", &[]), theirs, 2, 4).await;
    start(&catalogue, &reader(), from_source("one", "y"), 3, 4).await;
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(claim(&catalogue, 5).await.job.id);
    }
    taken.sort();
    assert_eq!(taken, [job_id(2), job_id(3), job_id(510)], "tenants take turns too");
}

async fn tries_again_take_their_turn(catalogue: Shared) {
    for n in 0..20 {
        start(&catalogue, &reader(), from_source("many", &format!("{n}")), 10 + n, 0).await;
    }
    for _ in 0..20 {
        let taken = claim(&catalogue, 1).await;
        catalogue
            .schedule_retry(
                &taken.lease,
                problem("busy"),
                RetryDelay::after_failure(Duration::from_secs(5)),
                moment(1),
            )
            .await
            .expect("queued");
    }
    start(&catalogue, &reader(), from_source("one", "x"), 1, 2).await;
    let first = [claim(&catalogue, 10).await.job.id, claim(&catalogue, 10).await.job.id];
    assert!(first.contains(&job_id(1)), "{first:?}");
    let mut left = 0;
    while next(&catalogue, moment(10)).await.is_some() {
        left += 1;
    }
    assert_eq!(left, 19, "and all the others come");
}

async fn redriven(catalogue: &Shared, n: u128, seconds: i64) -> RequeueOutcome {
    let answer = catalogue.requeue_job(&reader(), job_id(n), at(seconds)).await;
    answer.expect("an answer").expect("the job is seen")
}

async fn what_failed_is_driven_again(catalogue: Shared) {
    let (pending, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let first = claim(&catalogue, 1).await;
    catalogue.mark_original_stored(&first.lease).await.expect("noted");
    catalogue
        .schedule_retry(
            &first.lease,
            problem("busy"),
            RetryDelay::after_failure(Duration::ZERO),
            moment(1),
        )
        .await
        .expect("queued");
    let second = claim(&catalogue, 2).await;
    note(&catalogue, &second.lease, JobStage::Embed, 4, 10, moment(2)).await;
    catalogue
        .fail_job(&second.lease, problem("no_text"), at(2))
        .await
        .expect("failed");
    assert_eq!(job(&catalogue, 1).await.stage, JobStage::Embed, "where it failed");
    let foreign = catalogue.requeue_job(&caller("b", &[]), job_id(1), at(3)).await;
    assert_eq!(foreign.expect("an answer"), None);
    let unknown = catalogue.requeue_job(&reader(), job_id(9), at(3)).await;
    assert_eq!(unknown.expect("an answer"), None);

    let RequeueOutcome::Queued(again) = redriven(&catalogue, 1, 3).await else {
        panic!("what failed is driven again");
    };
    assert_eq!(again, job(&catalogue, 1).await);
    assert_eq!((again.state, again.stage), (JobState::Queued, JobStage::Queued));
    assert_eq!((again.attempts, again.done, again.total, again.error), (0, 0, 0, None));
    let waiting = document(&catalogue, pending.id).await;
    assert_eq!((waiting.status, waiting.last_error), (DocumentStatus::Pending, None));
    let begun = catalogue
        .begin_version(&reader(), version(&open(), "x", "one"), job_id(5), at(4))
        .await;
    assert!(matches!(begun, Ok(BeginOutcome::Unchanged(_))), "{begun:?}");
    let third = claim(&catalogue, 4).await;
    assert_eq!((third.failures, third.job.attempts), (0, 1));
    assert_eq!(third.original, OriginalLocation::Stored(first.lease.generation));
    assert!(third.lease.attempt > second.lease.attempt);
    is_stale(catalogue.mark_original_stored(&second.lease).await);
    catalogue
        .cancel_job(&reader(), job_id(1), at(5))
        .await
        .expect("an answer");
    let again = redriven(&catalogue, 1, 6).await;
    assert!(
        matches!(again, RequeueOutcome::Queued(_)),
        "what was cancelled, too: {again:?}"
    );
    publish_next(&catalogue, "T", 7).await;
}

async fn what_cannot_be_driven_again(catalogue: Shared) {
    let (first, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let check = async |seconds: i64, expected: &str| {
        let told = format!("{:?}", redriven(&catalogue, 1, seconds).await);
        assert!(told.starts_with(expected), "{told}");
    };
    check(1, "NotEnded").await;
    let taken = claim(&catalogue, 1).await;
    check(1, "NotEnded").await;
    catalogue
        .fail_job(&taken.lease, problem("no_text"), at(1))
        .await
        .expect("failed");
    start(&catalogue, &reader(), version(&open(), "x", "two"), 2, 2).await;
    check(2, "Superseded").await;
    publish_next(&catalogue, "T", 3).await;
    check(3, "Superseded").await;
    let published = redriven(&catalogue, 2, 3).await;
    assert!(matches!(published, RequeueOutcome::NotEnded(_)), "{published:?}");

    start(&catalogue, &reader(), version(&open(), "x", "three"), 3, 4).await;
    catalogue
        .cancel_job(&reader(), job_id(3), at(4))
        .await
        .expect("an answer");
    catalogue
        .tombstone_document(&reader(), first.id, job_id(4), at(5))
        .await
        .expect("an answer");
    let deleted = redriven(&catalogue, 3, 5).await;
    assert!(matches!(deleted, RequeueOutcome::Superseded(_)), "{deleted:?}");
    let purge = claim(&catalogue, 6).await;
    catalogue
        .fail_job(&purge.lease, problem("blob_store_failed"), at(6))
        .await
        .expect("failed");
    let purge = redriven(&catalogue, 4, 7).await;
    assert!(
        matches!(purge, RequeueOutcome::Queued(_)),
        "a deletion goes on: {purge:?}"
    );
    let purge = claim(&catalogue, 8).await;
    catalogue.finish_purge(&purge.lease, at(8)).await.expect("purged");
}

async fn children(catalogue: &Shared, batch: u128, state: Option<JobState>) -> Vec<JobId> {
    let filter = JobFilter {
        parent: Some(job_id(batch)),
        state,
        ..JobFilter::default()
    };
    let page = catalogue.list_jobs(&reader(), &filter, &whole_page()).await;
    page.expect("a list").items.iter().map(|job| job.id).collect()
}

fn stand(job: &Job) -> (JobState, u64, u64) {
    (job.state, job.done, job.total)
}

async fn a_batch_is_as_its_children_are(catalogue: Shared) {
    let none = catalogue.get_job(&reader(), job_id(100)).await.expect("an answer");
    assert_eq!(none, None, "nothing was begun in it");
    for (n, uri) in (1..).zip(["a", "b", "c"]) {
        let (_, child) = start(&catalogue, &reader(), of_batch(100, uri), n, n as i64).await;
        assert_eq!(child.parent, Some(job_id(100)));
    }
    let waiting = job(&catalogue, 100).await;
    assert_eq!((waiting.kind, waiting.document_id), (JobKind::Batch, None));
    assert_eq!(stand(&waiting), (JobState::Queued, 0, 3));
    let again = catalogue
        .begin_version(&reader(), of_batch(100, "a"), job_id(9), at(4))
        .await;
    assert!(
        matches!(again, Ok(BeginOutcome::Unchanged(_))),
        "nothing to do is no child"
    );

    publish_next(&catalogue, "A", 5).await;
    let running = job(&catalogue, 100).await;
    assert_eq!(stand(&running), (JobState::Running, 1, 3));
    assert_eq!((running.stage, running.updated_at), (JobStage::Children, at(5)));
    assert_eq!(
        (running.rate, running.seconds_remaining()),
        (Some(0.25), Some(8.0)),
        "a child in 4 s"
    );
    let taken = claim(&catalogue, 6).await;
    let counts = JobCounts {
        queued: 1,
        running: 1,
        succeeded: 1,
        ..JobCounts::default()
    };
    assert_eq!(job(&catalogue, 100).await.children, Some(counts));
    catalogue
        .fail_job(&taken.lease, problem("no_text"), at(7))
        .await
        .expect("failed");
    publish_next(&catalogue, "C", 8).await;
    let failed = job(&catalogue, 100).await;
    assert_eq!(
        (stand(&failed), failed.stage),
        ((JobState::Failed, 3, 3), JobStage::Done)
    );
    assert_eq!(failed.error.map(|error| error.code).as_deref(), Some("children_failed"));
    assert_eq!(children(&catalogue, 100, None).await, [job_id(3), job_id(2), job_id(1)]);
    assert_eq!(children(&catalogue, 100, Some(JobState::Failed)).await, [job_id(2)]);
    assert!(children(&catalogue, 1, None).await.is_empty());
    let filter = JobFilter {
        kind: Some(JobKind::Batch),
        state: Some(JobState::Failed),
        ..JobFilter::default()
    };
    let listed = catalogue
        .list_jobs(&reader(), &filter, &whole_page())
        .await
        .expect("a list");
    assert_eq!(listed.items, [job(&catalogue, 100).await], "listed like others");

    assert!(matches!(redriven(&catalogue, 2, 9).await, RequeueOutcome::Queued(_)));
    assert_eq!(job(&catalogue, 100).await.state, JobState::Running, "it goes on");
    publish_next(&catalogue, "B", 10).await;
    assert_eq!(stand(&job(&catalogue, 100).await), (JobState::Succeeded, 3, 3));
    assert!(next(&catalogue, moment(11)).await.is_none(), "a batch is not claimed");
    assert_eq!(
        catalogue.requeue_interrupted_jobs(moment(0)).await.expect("an answer"),
        0
    );
}

async fn a_batch_is_cancelled_and_driven_again_whole(catalogue: Shared) {
    for (n, uri) in (1..).zip(["a", "b", "c", "d"]) {
        start(&catalogue, &reader(), of_batch(100, uri), n, 0).await;
    }
    publish_next(&catalogue, "A", 1).await;
    let failed = claim(&catalogue, 2).await;
    catalogue
        .fail_job(&failed.lease, problem("no_text"), at(2))
        .await
        .expect("failed");
    let running = claim(&catalogue, 3).await;
    let cancelled = catalogue.cancel_job(&reader(), job_id(100), at(4)).await;
    let cancelled = cancelled.expect("an answer").expect("it is seen");
    assert_eq!(stand(&cancelled), (JobState::Cancelled, 4, 4));
    is_stale(catalogue.mark_original_stored(&running.lease).await);
    assert_eq!(children(&catalogue, 100, Some(JobState::Cancelled)).await.len(), 2);
    let late = catalogue
        .begin_version(&reader(), of_batch(100, "e"), job_id(5), at(5))
        .await;
    assert!(matches!(late, Err(CatalogueError::BatchTaken)), "{late:?}");
    let unborn = of_batch(100, "e").document_id();
    let unborn = catalogue.get_document(&reader(), unborn).await.expect("an answer");
    assert_eq!(unborn, None, "nothing is begun in a cancelled batch");

    let RequeueOutcome::Queued(again) = redriven(&catalogue, 100, 6).await else {
        panic!("what was left is driven again");
    };
    assert_eq!(stand(&again), (JobState::Running, 1, 4));
    for _ in 0..3 {
        publish_next(&catalogue, "T", 7).await;
    }
    assert_eq!(stand(&job(&catalogue, 100).await), (JobState::Succeeded, 4, 4));
    assert!(matches!(
        redriven(&catalogue, 100, 8).await,
        RequeueOutcome::NotEnded(_)
    ));
    let ended = catalogue.cancel_job(&reader(), job_id(100), at(9)).await;
    let ended = ended.expect("an answer").expect("it is seen");
    assert_eq!(ended.state, JobState::Succeeded, "a final batch stays as it is");
}

async fn a_batch_is_its_callers(catalogue: Shared) {
    let owner = caller("a", &["group:g"]);
    let private = NewVersion {
        batch: Some(job_id(100)),
        ..version(&acl("a", &[&["group:g"]]), "x", "one")
    };
    start(&catalogue, &owner, private, 1, 0).await;
    let theirs = NewVersion {
        batch: Some(job_id(100)),
        ..version(&acl("b", &[&["everyone"]]), "y", "one")
    };
    for (scope, version) in [(reader(), of_batch(100, "y")), (caller("b", &[]), theirs)] {
        let refused = catalogue.begin_version(&scope, version, job_id(2), at(1)).await;
        assert!(matches!(refused, Err(CatalogueError::BatchTaken)), "{refused:?}");
        let seen = catalogue.get_job(&scope, job_id(100)).await.expect("an answer");
        assert_eq!(seen, None);
        let cancelled = catalogue
            .cancel_job(&scope, job_id(100), at(1))
            .await
            .expect("an answer");
        assert_eq!(cancelled, None);
    }
    let no_batch = catalogue
        .begin_version(&owner, of_batch(1, "y"), job_id(2), at(1))
        .await;
    assert!(matches!(no_batch, Err(CatalogueError::BatchTaken)), "{no_batch:?}");

    // A child that another caller sees, in a batch that both see: cancelling takes only what is seen.
    start(&catalogue, &reader(), of_batch(200, "open"), 3, 2).await;
    let hidden = NewVersion {
        batch: Some(job_id(200)),
        ..version(&acl("a", &[&["group:g"]]), "hidden", "one")
    };
    start(&catalogue, &owner, hidden, 4, 2).await;
    catalogue
        .cancel_job(&reader(), job_id(200), at(3))
        .await
        .expect("an answer");
    let left = catalogue.get_job(&owner, job_id(4)).await.expect("an answer");
    assert_eq!(left.expect("it is seen").state, JobState::Queued);
}

async fn jobs_are_counted_by_state(catalogue: Shared) {
    let check = async |expected: [u64; 5]| {
        let counts = catalogue.count_jobs(&tenant("a")).await.expect("counts");
        let JobCounts {
            queued,
            running,
            succeeded,
            failed,
            cancelled,
        } = counts;
        assert_eq!([queued, running, succeeded, failed, cancelled], expected);
        let other = catalogue.count_jobs(&tenant("b")).await.expect("counts");
        assert_eq!(other, JobCounts::default());
    };
    check([0; 5]).await;
    for (n, uri) in (1..).zip(["a", "b", "c", "d", "e"]) {
        start(&catalogue, &reader(), of_batch(100, uri), n, 0).await;
    }
    check([5, 0, 0, 0, 0]).await;
    publish_next(&catalogue, "A", 1).await;
    let failed = claim(&catalogue, 1).await;
    catalogue
        .fail_job(&failed.lease, problem("no_text"), at(2))
        .await
        .expect("failed");
    claim(&catalogue, 2).await;
    start(&catalogue, &reader(), version(&open(), "e", "two"), 6, 3).await;
    check([2, 1, 1, 1, 1]).await;
    catalogue.requeue_interrupted_jobs(moment(0)).await.expect("an answer");
    check([3, 0, 1, 1, 1]).await;
}

async fn originals_are_where_the_newest_begin_has_them(catalogue: Shared) {
    let (first, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let check = async |expected: Option<OriginalLocation>| {
        assert_eq!(catalogue.locate_original(first.id).await.expect("an answer"), expected);
    };
    check(Some(OriginalLocation::Incoming("incoming/x".into()))).await;
    let taken = claim(&catalogue, 1).await;
    catalogue.mark_original_stored(&taken.lease).await.expect("noted");
    check(Some(OriginalLocation::Stored(taken.lease.generation))).await;
    start(&catalogue, &reader(), version(&open(), "x", "two"), 2, 2).await;
    check(Some(OriginalLocation::Incoming("incoming/x".into()))).await;
    let purge = catalogue
        .tombstone_document(&reader(), first.id, job_id(3), at(3))
        .await;
    purge.expect("an answer");
    check(None).await;
}
