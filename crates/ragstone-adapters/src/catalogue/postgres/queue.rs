//! The queue: who is next, who takes it, and who lost it.
//!
//! Invariant: no claim looks at more rows than it moves, suspects apart, of which there are never more than workers that
//! died: each question has an index of the rows that may answer it. A claim waits for no other process: it passes over
//! what others hold. Beside a suspect its process claims nothing, so the claims of one process come one after another.

use std::time::Duration;

use ragstone_core::document::{Job, JobKind, JobState, Worker};
use ragstone_core::id::JobId;
use ragstone_core::seam::catalogue::{Claim, Company, Moment, SUSPECT_TURNS};
use uuid::Uuid;

use super::database::{Database, Mode, Session, transact};
use super::error::Failure;
use super::job_row::{self, JOB, update_held_job, update_job};
use super::lease::end;
use super::row::{Hold, document, draw_generation, get, id, number, whole};
use crate::catalogue::stored::{StoredJob, no_document};
use crate::catalogue::value::steady;

/// Jobs whose wait is over that one claim puts back in line.
const WOKEN_AT_ONCE: i64 = 64;
/// Jobs whose lease ran out that one claim takes from their workers.
const BURIED_AT_ONCE: i64 = 64;

const RAN_OUT: &str = "select id from jobs where lease_until <= $1 order by lease_until limit $2";
const OVER: &str =
    "select id from jobs where state = 'queued' and due > 0 and due <= $1 order by due, sequence limit $2";
const LAST_OF_LANE: &str = "select place from jobs
    where tenant = $1 and source = $2 and state = 'queued' and due = 0 order by place desc limit 1";

fn first_in_line() -> String {
    format!(
        "select {JOB} from jobs where state = 'queued' and due = 0 and not suspect order by place, sequence limit 1
         for update skip locked"
    )
}

fn first_suspect() -> String {
    format!(
        "select {JOB} from jobs where suspect and state = 'queued' and due = 0 order by place, sequence limit 1
         for update skip locked"
    )
}

/// Whether this process works on anything.
const RUNNING: &str = "select 1 from jobs where holder = $1 and state = 'running' limit 1";

/// What a claim asks of the queue before it moves anything, in one statement: nearly always all the answers are no.
const ASKED: &str = "select
    exists (select 1 from jobs where lease_until <= $1) as ran_out,
    exists (select 1 from jobs where state = 'queued' and due > 0 and due <= $1) as over,
    exists (select 1 from jobs where state = 'queued' and due = 0) as ready,
    exists (select 1 from jobs where suspect and state = 'queued') as suspected,
    exists (select 1 from jobs where holder = $2 and state = 'running' and suspect) as taken_up";

/// Takes the next job that may run. A process calls it once at a time.
pub async fn claim(
    database: &Database,
    holder: Uuid,
    worker: Worker,
    lease: Duration,
    now: Moment,
) -> Result<Option<Claim>, Failure> {
    let session = database.session().await?;
    let asked = session.one(ASKED, &[&steady(now.steady)?, &holder]).await?;
    let is = |what: &str| get::<bool>(&asked, what);
    let (ran_out, over, ready) = (is("ran_out")?, is("over")?, is("ready")?);
    let candidates = match ran_out {
        true => candidates(&session, RAN_OUT, &[&steady(now.steady)?, &BURIED_AT_ONCE]).await?,
        false => Vec::new(),
    };
    drop(session);
    for candidate in candidates {
        let has_run_out = |stored: &StoredJob| stored.course.lease_until <= Some(now.steady);
        let company = |stored: &StoredJob| stored.course.company();
        transact!(database, Mode::Synced, |t| bury(
            &t,
            candidate,
            has_run_out,
            company,
            now
        ))?;
    }
    if over {
        transact!(database, Mode::Synced, |t| wake(&t, now))?;
    }
    // The suspect whose lease ran out is at work no more.
    let taken_up = match ran_out {
        true => {
            let session = database.session().await?;
            let asked = session.one(ASKED, &[&steady(now.steady)?, &holder]).await?;
            get::<bool>(&asked, "taken_up")?
        }
        false => is("taken_up")?,
    };
    if !(ready || ran_out || over) || taken_up {
        return Ok(None);
    }
    let suspected = is("suspected")? || ran_out || over;
    transact!(database, Mode::Synced, |t| take(
        &t, holder, worker, lease, suspected, now
    ))
}

async fn take(
    t: &Session,
    holder: Uuid,
    worker: Worker,
    lease: Duration,
    suspected: bool,
    now: Moment,
) -> Result<Option<Claim>, Failure> {
    while let Some(mut stored) = next(t, holder, suspected).await? {
        let found = match stored.job.document_id {
            Some(id) => document(t, id, Hold::No).await?,
            None => None,
        };
        let Some(document) = found else {
            end(t, stored, JobState::Failed, Some(no_document()), now.wall).await?;
            continue;
        };
        // Not in step with the transaction, and need not be: a turn that is one off serves somebody a little sooner.
        t.run(
            "select setval('turns', $1) from turns where last_value < $1",
            &[&whole(stored.place)?],
        )
        .await?;
        stored.course.claim(&mut stored.job, worker, lease, now);
        if stored.job.kind == JobKind::Ingest {
            stored.job.generation = draw_generation(t).await?;
        }
        update_held_job(t, &stored, holder).await?;
        return Ok(Some(stored.claimed(document)));
    }
    Ok(None)
}

/// A suspect comes after all others, unless it let too many of them go first, and only where its process works on
/// nothing else.
async fn next(t: &Session, holder: Uuid, suspected: bool) -> Result<Option<StoredJob>, Failure> {
    let suspect = match suspected {
        true => job_row::first(t, &first_suspect(), &[]).await?,
        false => None,
    };
    let Some(suspect) = suspect else {
        return job_row::first(t, &first_in_line(), &[]).await;
    };
    let lets_others_go_first = suspect.place + SUSPECT_TURNS >= turn(t).await?;
    if lets_others_go_first && let Some(other) = job_row::first(t, &first_in_line(), &[]).await? {
        return Ok(Some(other));
    }
    let is_alone = t.first(RUNNING, &[&holder]).await?.is_none();
    Ok(is_alone.then_some(suspect))
}

/// The place of the job claimed last.
async fn turn(t: &Session) -> Result<u64, Failure> {
    number(&t.one("select last_value from turns", &[]).await?, "last_value")
}

/// Jobs whose wait is over take a turn like new ones. In the order of their lanes, as each lane is held to the end.
async fn wake(t: &Session, now: Moment) -> Result<(), Failure> {
    let query = format!(
        "select {JOB} from jobs where id in ({OVER}) and state = 'queued' and due > 0 and due <= $1
         order by tenant, source, due, sequence for update skip locked"
    );
    for row in t.all(&query, &[&steady(now.steady)?, &WOKEN_AT_ONCE]).await? {
        let mut stored = job_row::read_job(&row)?;
        (stored.course.due, stored.course.wait) = (Duration::ZERO, None);
        stored.place = last_place(t, stored.acl.tenant.as_str(), &stored.source).await?;
        update_job(t, &stored).await?;
    }
    Ok(())
}

/// Behind everything that is ready of the same tenant and source, and behind what was claimed: so every source with
/// something to do is served once before any is served twice. Holds the lane until the transaction ends.
pub async fn last_place(t: &Session, tenant: &str, source: &str) -> Result<u64, Failure> {
    let hold = "select 1 from lanes where tenant = $1 and source = $2 for update";
    if t.first(hold, &[&tenant, &source]).await?.is_none() {
        t.run(
            "insert into lanes (tenant, source) values ($1, $2) on conflict do nothing",
            &[&tenant, &source],
        )
        .await?;
        t.one(hold, &[&tenant, &source]).await?;
    }
    let turn = turn(t).await?;
    let lane = t.first(LAST_OF_LANE, &[&tenant, &source]).await?;
    let lane: Option<u64> = lane.map(|row| number(&row, "place")).transpose()?;
    Ok(turn.max(lane.unwrap_or(0)) + 1)
}

async fn candidates(c: &Session, query: &str, values: super::database::Values<'_>) -> Result<Vec<JobId>, Failure> {
    let read = |row: &tokio_postgres::Row| Ok(JobId(id(row, "id")?));
    c.all(query, values).await?.iter().map(read).collect()
}

/// Takes a job from a worker that is gone, if nobody did and it did not come back; says whether.
async fn bury(
    t: &Session,
    candidate: JobId,
    is_lost: impl Fn(&StoredJob) -> bool,
    company: impl Fn(&StoredJob) -> Company,
    now: Moment,
) -> Result<bool, Failure> {
    let found = job_row::job(t, candidate, Hold::Row).await?;
    let lost = |stored: &StoredJob| stored.job.state == JobState::Running && is_lost(stored);
    let Some(mut stored) = found.filter(lost) else {
        return Ok(false);
    };
    let company = company(&stored);
    stored.course.die(&mut stored.job, company, now);
    update_job(t, &stored).await?;
    Ok(true)
}

/// Queues again what the process before this one held, and shortens waits that a clock set back made longer.
pub async fn take_back(database: &Database, holder: Uuid, now: Moment) -> Result<u64, Failure> {
    let session = database.session().await?;
    // One by one: the processes that do so at once take no rows in another order.
    let too_long = "select id from jobs where state = 'queued' and due > 0 and due > $1 + wait";
    let moment = steady(now.steady)?;
    for row in session.all(too_long, &[&moment]).await? {
        let shorten = "update jobs set due = $2 + wait where id = $1 and state = 'queued' and due > $2 + wait";
        session.run(shorten, &[&id(&row, "id")?, &moment]).await?;
    }
    let held = "select id from jobs where holder = $1 and state = 'running'";
    let candidates = candidates(&session, held, &[&holder]).await?;
    drop(session);
    let (mut count, company) = (0, Company::among(candidates.len()));
    for candidate in candidates {
        let (was_held, company) = (|_: &StoredJob| true, |_: &StoredJob| company);
        count += u64::from(transact!(database, Mode::Synced, |t| bury(
            &t, candidate, was_held, company, now
        ))?);
    }
    Ok(count)
}

/// Everything that a claim asks of the queue.
#[cfg(test)]
pub fn questions() -> Vec<String> {
    [RAN_OUT, OVER, LAST_OF_LANE, RUNNING]
        .map(String::from)
        .into_iter()
        .chain([first_in_line(), first_suspect()])
        .collect()
}

/// Puts a job of a document in its place at the end of its lane.
pub async fn queue_again(t: &Session, mut stored: StoredJob) -> Result<Job, Failure> {
    stored.place = last_place(t, stored.acl.tenant.as_str(), &stored.source).await?;
    update_job(t, &stored).await?;
    Ok(stored.job)
}
