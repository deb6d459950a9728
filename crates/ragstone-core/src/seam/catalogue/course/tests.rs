//! Effects of progress, deaths and delays on the attempts of a job.

use uuid::Uuid;

use super::*;
use crate::id::{Generation, JobId};

fn at(seconds: f64) -> ClockReading {
    ClockReading {
        wall: OffsetDateTime::UNIX_EPOCH,
        steady: Duration::from_secs_f64(seconds),
    }
}

fn claimed() -> (AttemptState, Job) {
    let mut job = Job {
        generation: Generation(1),
        ..Job::new_queued(JobId(Uuid::nil()), JobKind::Ingest, None, OffsetDateTime::UNIX_EPOCH)
    };
    let mut course = AttemptState::default();
    take(&mut course, &mut job);
    (course, job)
}

fn take(course: &mut AttemptState, job: &mut Job) {
    let worker = WorkerId { process: 1, number: 1 };
    course.start_attempt(job, worker, Duration::from_secs(9), at(0.0));
}

fn note(course: &mut AttemptState, job: &mut Job, stage: JobStage, done: u64, total: u64, seconds: f64) {
    course.record_progress(job, JobProgress { stage, done, total }, at(seconds));
}

#[test]
fn progress_never_goes_back_within_an_attempt() {
    let (mut course, mut job) = claimed();
    let mut check = |stage, done, total, expected: (JobStage, u64, u64)| {
        note(&mut course, &mut job, stage, done, total, 1.0);
        assert_eq!((job.stage, job.done, job.total), expected, "{stage} {done}/{total}");
    };
    check(JobStage::Load, 0, 1, (JobStage::Load, 0, 1));
    check(JobStage::Parse, 0, 1, (JobStage::Parse, 0, 1));
    check(JobStage::Embed, 0, 10, (JobStage::Embed, 0, 10));
    check(JobStage::Embed, 6, 10, (JobStage::Embed, 6, 10));
    check(JobStage::Embed, 4, 10, (JobStage::Embed, 6, 10));
    check(JobStage::Parse, 0, 1, (JobStage::Embed, 6, 10));
    check(JobStage::Embed, 8, 20, (JobStage::Embed, 8, 20));
    check(JobStage::Publish, 0, 1, (JobStage::Publish, 8, 20));
}

#[test]
fn what_was_done_of_the_same_total_is_not_counted_back_by_the_next_attempt() {
    let (mut course, mut job) = claimed();
    note(&mut course, &mut job, JobStage::Embed, 0, 10, 0.0);
    note(&mut course, &mut job, JobStage::Embed, 6, 10, 1.0);
    course.record_death(&mut job, ConcurrentJobs::None, at(1.0));
    take(&mut course, &mut job);
    note(&mut course, &mut job, JobStage::Embed, 2, 10, 1.0);
    assert_eq!((job.done, course.reached), (6, 2));
    note(&mut course, &mut job, JobStage::Embed, 8, 10, 1.0);
    assert_eq!(job.done, 8);
    course.release_job(&mut job, at(1.0).wall);
    take(&mut course, &mut job);
    note(&mut course, &mut job, JobStage::Embed, 1, 12, 1.0);
    assert_eq!((job.done, job.total), (1, 12), "another total is another work");
}

#[test]
fn the_rate_is_of_this_attempt_and_tells_what_is_left() {
    let (mut course, mut job) = claimed();
    note(&mut course, &mut job, JobStage::Embed, 0, 100, 10.0);
    assert_eq!((job.rate, job.seconds_remaining()), (None, None));
    note(&mut course, &mut job, JobStage::Embed, 20, 100, 15.0);
    assert_eq!((job.rate, job.seconds_remaining()), (Some(4.0), Some(20.0)));
    note(&mut course, &mut job, JobStage::Embed, 50, 100, 20.0);
    assert_eq!(job.seconds_remaining(), Some(10.0));
    course.end_job(&mut job, JobState::Succeeded, None, at(20.0).wall);
    assert_eq!((job.done, job.rate, job.seconds_remaining()), (100, None, None));
}

#[test]
fn five_deaths_alone_poison_and_deaths_in_company_do_not() {
    let deaths = |all: &[(ConcurrentJobs, JobStage, u64)]| {
        let (mut course, mut job) = claimed();
        for (company, stage, done) in all {
            assert_eq!(course.poisoned_error(), None, "{all:?}");
            note(&mut course, &mut job, *stage, *done, 10, 1.0);
            course.record_death(&mut job, *company, at(1.0));
            assert!(course.suspect, "{all:?}");
            take(&mut course, &mut job);
        }
        (course.poisoned_error().map(|error| error.code), course.deaths)
    };
    let check = |all: &[(ConcurrentJobs, JobStage, u64)], poisoned: bool, blamed: u32| {
        let (code, deaths) = deaths(all);
        assert_eq!(
            (code.as_deref(), deaths),
            (poisoned.then_some("poisoned"), blamed),
            "{all:?}"
        );
    };
    let (alone, beside) = (ConcurrentJobs::None, ConcurrentJobs::Others);
    check(&[(alone, JobStage::Embed, 4); 4], false, 4);
    check(&[(alone, JobStage::Embed, 4); 5], true, 5);
    check(&[(alone, JobStage::Parse, 0); 5], true, 5);
    check(&[(beside, JobStage::Embed, 4); 20], false, 0);
    let mut mixed = vec![(beside, JobStage::Embed, 4); 3];
    mixed.extend([(alone, JobStage::Embed, 4); 4]);
    check(&mixed, false, 4);
    // Further than ever before forgives; as far as once before does not.
    check(
        &[
            (alone, JobStage::Embed, 4),
            (alone, JobStage::Embed, 4),
            (alone, JobStage::Embed, 5),
        ],
        false,
        1,
    );
    let to_and_fro = [4, 6, 4, 6, 4].map(|done| (alone, JobStage::Embed, done));
    check(&to_and_fro, false, 4);
}

#[test]
fn a_suspect_that_gets_past_the_place_is_none_any_more() {
    let check = |stage, done, is_suspect| {
        let (mut course, mut job) = claimed();
        note(&mut course, &mut job, JobStage::Embed, 4, 10, 1.0);
        course.record_death(&mut job, ConcurrentJobs::Others, at(1.0));
        take(&mut course, &mut job);
        note(&mut course, &mut job, stage, done, 10, 2.0);
        assert_eq!(course.suspect, is_suspect, "{stage} {done}");
        course.release_job(&mut job, at(2.0).wall);
        assert_eq!(course.suspect, is_suspect, "handing back decides nothing");
    };
    check(JobStage::Parse, 0, true);
    check(JobStage::Embed, 4, true);
    check(JobStage::Embed, 5, false);
    check(JobStage::Publish, 0, false);
}

#[test]
fn a_suspect_waits_longer_after_each_death_that_it_is_blamed_for() {
    let (mut course, mut job) = claimed();
    course.record_death(&mut job, ConcurrentJobs::Others, at(10.0));
    assert_eq!(
        (course.due, course.wait),
        (Duration::ZERO, None),
        "in company it is blamed for nothing"
    );
    for seconds in [1, 5, 25, 125] {
        take(&mut course, &mut job);
        course.record_death(&mut job, ConcurrentJobs::None, at(10.0));
        assert_eq!(course.due, Duration::from_secs(10 + seconds));
    }
    take(&mut course, &mut job);
    course.record_death(&mut job, ConcurrentJobs::None, at(10.0));
    assert_eq!(course.due, Duration::ZERO, "it is only to be ended");
}

#[test]
fn a_poisoned_job_that_is_driven_again_stays_suspect_and_one_that_succeeds_does_not() {
    let (mut course, mut job) = claimed();
    for _ in 0..MAX_DEATHS {
        course.record_death(&mut job, ConcurrentJobs::None, at(1.0));
        take(&mut course, &mut job);
    }
    let error = course.poisoned_error();
    assert!(error.is_some());
    course.end_job(&mut job, JobState::Failed, error, at(1.0).wall);
    course.requeue_job(&mut job, at(1.0).wall);
    assert_eq!((course.suspect, course.deaths, course.died), (true, 0, None));
    assert_eq!(course.poisoned_error(), None);
    take(&mut course, &mut job);
    course.end_job(&mut job, JobState::Succeeded, None, at(1.0).wall);
    assert!(!course.suspect);
}

#[test]
fn a_wait_is_never_longer_than_it_was_whatever_the_wall_says() {
    let check = |wall: i64, expected: u64| {
        let (mut course, mut job) = claimed();
        let error = build_poisoned_error(JobStage::Embed, 0);
        course.schedule_retry(
            &mut job,
            error,
            RetryDelay::after_failure(Duration::from_secs(60)),
            at(500.0),
        );
        assert_eq!(course.due, Duration::from_secs(560));
        course.resume_wait(ClockReading {
            wall: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(wall),
            steady: Duration::from_secs(1),
        });
        assert_eq!(course.due, Duration::from_secs(1 + expected), "{wall}");
    };
    check(0, 60);
    check(20, 40);
    check(60, 0);
    check(1_000_000, 0);
    check(-1_000_000, 60);
}
