//! What notes, deaths and waits make of a job.

use uuid::Uuid;

use super::*;
use crate::id::{Generation, JobId};

fn at(seconds: f64) -> Moment {
    Moment {
        wall: OffsetDateTime::UNIX_EPOCH,
        steady: Duration::from_secs_f64(seconds),
    }
}

fn claimed() -> (Course, Job) {
    let mut job = Job {
        generation: Generation(1),
        ..Job::queued(
            JobId(Uuid::nil()),
            JobKind::Ingest,
            None,
            OffsetDateTime::UNIX_EPOCH,
        )
    };
    let mut course = Course::default();
    take(&mut course, &mut job);
    (course, job)
}

fn take(course: &mut Course, job: &mut Job) {
    let worker = Worker {
        process: 1,
        number: 1,
    };
    course.claim(job, worker, Duration::from_secs(9), at(0.0));
}

fn note(course: &mut Course, job: &mut Job, stage: Stage, done: u64, total: u64, seconds: f64) {
    course.note(job, Progress { stage, done, total }, at(seconds));
}

#[test]
fn progress_never_goes_back_within_an_attempt() {
    let (mut course, mut job) = claimed();
    let mut check = |stage, done, total, expected: (Stage, u64, u64)| {
        note(&mut course, &mut job, stage, done, total, 1.0);
        assert_eq!(
            (job.stage, job.done, job.total),
            expected,
            "{stage} {done}/{total}"
        );
    };
    check(Stage::Load, 0, 1, (Stage::Load, 0, 1));
    check(Stage::Parse, 0, 1, (Stage::Parse, 0, 1));
    check(Stage::Embed, 0, 10, (Stage::Embed, 0, 10));
    check(Stage::Embed, 6, 10, (Stage::Embed, 6, 10));
    check(Stage::Embed, 4, 10, (Stage::Embed, 6, 10));
    check(Stage::Parse, 0, 1, (Stage::Embed, 6, 10));
    check(Stage::Embed, 8, 20, (Stage::Embed, 8, 20));
    check(Stage::Publish, 0, 1, (Stage::Publish, 8, 20));
}

#[test]
fn what_was_done_of_the_same_total_is_not_counted_back_by_the_next_attempt() {
    let (mut course, mut job) = claimed();
    note(&mut course, &mut job, Stage::Embed, 0, 10, 0.0);
    note(&mut course, &mut job, Stage::Embed, 6, 10, 1.0);
    assert_eq!(course.die(&mut job, at(1.0).wall), None);
    take(&mut course, &mut job);
    note(&mut course, &mut job, Stage::Embed, 2, 10, 1.0);
    assert_eq!((job.done, course.reached), (6, 2));
    note(&mut course, &mut job, Stage::Embed, 8, 10, 1.0);
    assert_eq!(job.done, 8);
    course.hand_back(&mut job, at(1.0).wall);
    take(&mut course, &mut job);
    note(&mut course, &mut job, Stage::Embed, 1, 12, 1.0);
    assert_eq!((job.done, job.total), (1, 12), "another total is another work");
}

#[test]
fn the_rate_is_of_this_attempt_and_tells_what_is_left() {
    let (mut course, mut job) = claimed();
    note(&mut course, &mut job, Stage::Embed, 0, 100, 10.0);
    assert_eq!((job.rate, job.remaining()), (None, None));
    note(&mut course, &mut job, Stage::Embed, 20, 100, 15.0);
    assert_eq!((job.rate, job.remaining()), (Some(4.0), Some(20.0)));
    note(&mut course, &mut job, Stage::Embed, 50, 100, 20.0);
    assert_eq!(job.remaining(), Some(10.0));
    course.end(&mut job, JobState::Succeeded, None, at(20.0).wall);
    assert_eq!((job.done, job.rate, job.remaining()), (100, None, None));
}

#[test]
fn three_deaths_at_one_place_poison_and_progress_between_them_does_not() {
    let deaths = |places: &[(Stage, u64)]| {
        let (mut course, mut job) = claimed();
        let mut error = None;
        for (stage, done) in places {
            note(&mut course, &mut job, *stage, *done, 10, 1.0);
            error = course.die(&mut job, at(1.0).wall);
            take(&mut course, &mut job);
        }
        error.map(|error| error.code)
    };
    let check = |places: &[(Stage, u64)], expected: Option<&str>| {
        assert_eq!(deaths(places).as_deref(), expected, "{places:?}");
    };
    check(&[(Stage::Embed, 4); 2], None);
    check(&[(Stage::Embed, 4); 3], Some("poisoned"));
    check(&[(Stage::Embed, 4), (Stage::Embed, 4), (Stage::Embed, 5)], None);
    check(&[(Stage::Embed, 4), (Stage::Embed, 6), (Stage::Embed, 8)], None);
    check(&[(Stage::Parse, 0); 3], Some("poisoned"));
}

#[test]
fn an_attempt_that_got_further_forgives_the_deaths_before_it() {
    let (mut course, mut job) = claimed();
    for _ in 0..2 * MAX_DEATHS {
        assert_eq!(course.die(&mut job, at(1.0).wall), None);
        take(&mut course, &mut job);
        note(&mut course, &mut job, Stage::Parse, 0, 1, 1.0);
        course.hand_back(&mut job, at(1.0).wall);
        take(&mut course, &mut job);
    }
}

#[test]
fn a_wait_is_never_longer_than_it_was_whatever_the_wall_says() {
    let check = |wall: i64, expected: u64| {
        let (mut course, mut job) = claimed();
        let error = poisoned(Stage::Embed, 0);
        course.fail_once(
            &mut job,
            error,
            Wait::spending(Duration::from_secs(60)),
            at(500.0),
        );
        assert_eq!(course.due, Duration::from_secs(560));
        course.begin_again(Moment {
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
