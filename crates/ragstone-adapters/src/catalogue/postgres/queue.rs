//! The queue: who is next, who takes it, and who lost it.
//!
//! Invariant: no claim looks at more rows than it moves, suspects apart, of which there are never more than workers that
//! died: each question has an index of the rows that may answer it. A claim waits for no other process: it passes over
//! what others hold. Beside a suspect its process claims nothing, so the claims of one process come one after another.

use std::time::Duration;

use ragstone_core::document::{Job, JobKind, JobState, WorkerId};
use ragstone_core::id::JobId;
use ragstone_core::seam::catalogue::{ClaimedJob, ClockReading, ConcurrentJobs, SUSPECT_TURNS};
use uuid::Uuid;

use super::database::{PostgresDatabase, PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::job_row::{self, JOB, update_held_job, update_job};
use super::lease::end_job;
use super::row::{RowLock, draw_generation, get_number, get_uuid, get_value, load_document, to_bigint};
use crate::catalogue::stored::{StoredJob, missing_document_error};
use crate::catalogue::value::steady_nanoseconds;

/// Jobs whose wait is over that one claim puts back in line.
const DUE_JOBS_AT_ONCE: i64 = 64;
/// Jobs whose lease ran out that one claim takes from their workers.
const LOST_JOBS_AT_ONCE: i64 = 64;

const RAN_OUT: &str = "select id from jobs where lease_until <= $1 order by lease_until limit $2";
const OVER: &str =
    "select id from jobs where state = 'queued' and due > 0 and due <= $1 order by due, sequence limit $2";
const LAST_IN_FAIR_QUEUE: &str = "select place from jobs
    where tenant = $1 and source = $2 and state = 'queued' and due = 0 order by place desc limit 1";

fn first_ready_query() -> String {
    format!(
        "select {JOB} from jobs where state = 'queued' and due = 0 and not suspect order by place, sequence limit 1
         for update skip locked"
    )
}

fn first_suspect_query() -> String {
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
pub async fn claim_job(
    database: &PostgresDatabase,
    holder: Uuid,
    worker: WorkerId,
    lease: Duration,
    now: ClockReading,
) -> Result<Option<ClaimedJob>, PostgresTransactionError> {
    let session = database.open_session().await?;
    let asked = session
        .query_one(ASKED, &[&steady_nanoseconds(now.steady)?, &holder])
        .await?;
    let is = |what: &str| get_value::<bool>(&asked, what);
    let (ran_out, over, ready) = (is("ran_out")?, is("over")?, is("ready")?);
    let candidates = match ran_out {
        true => {
            find_candidates(
                &session,
                RAN_OUT,
                &[&steady_nanoseconds(now.steady)?, &LOST_JOBS_AT_ONCE],
            )
            .await?
        }
        false => Vec::new(),
    };
    drop(session);
    for candidate in candidates {
        let has_run_out = |stored: &StoredJob| stored.attempt_state.lease_until <= Some(now.steady);
        let company = |stored: &StoredJob| stored.attempt_state.concurrent_jobs();
        transact!(database, TransactionMode::Synced, |t| requeue_lost_job(
            &t,
            candidate,
            has_run_out,
            company,
            now
        ))?;
    }
    if over {
        transact!(database, TransactionMode::Synced, |t| requeue_due_jobs(&t, now))?;
    }
    // The suspect whose lease ran out is at work no more.
    let taken_up = match ran_out {
        true => {
            let session = database.open_session().await?;
            let asked = session
                .query_one(ASKED, &[&steady_nanoseconds(now.steady)?, &holder])
                .await?;
            get_value::<bool>(&asked, "taken_up")?
        }
        false => is("taken_up")?,
    };
    if !(ready || ran_out || over) || taken_up {
        return Ok(None);
    }
    let suspected = is("suspected")? || ran_out || over;
    transact!(database, TransactionMode::Synced, |t| claim_next_job(
        &t, holder, worker, lease, suspected, now
    ))
}

async fn claim_next_job(
    t: &PostgresSession,
    holder: Uuid,
    worker: WorkerId,
    lease: Duration,
    suspected: bool,
    now: ClockReading,
) -> Result<Option<ClaimedJob>, PostgresTransactionError> {
    while let Some(mut stored) = next_job(t, holder, suspected).await? {
        let found = match stored.job.document_id {
            Some(id) => load_document(t, id, RowLock::Unlocked).await?,
            None => None,
        };
        let Some(document) = found else {
            end_job(t, stored, JobState::Failed, Some(missing_document_error()), now.wall).await?;
            continue;
        };
        // Not in step with the transaction, and need not be: a turn that is one off serves somebody a little sooner.
        t.execute_statement(
            "select setval('turns', $1) from turns where last_value < $1",
            &[&to_bigint(stored.queue_sequence)?],
        )
        .await?;
        stored.attempt_state.start_attempt(&mut stored.job, worker, lease, now);
        if stored.job.kind == JobKind::Ingest {
            stored.job.generation = draw_generation(t).await?;
        }
        update_held_job(t, &stored, holder).await?;
        return Ok(Some(stored.into_claimed_job(document)));
    }
    Ok(None)
}

/// A suspect comes after all others, unless it let too many of them go first, and only where its process works on
/// nothing else.
async fn next_job(
    t: &PostgresSession,
    holder: Uuid,
    suspected: bool,
) -> Result<Option<StoredJob>, PostgresTransactionError> {
    let suspect = match suspected {
        true => job_row::find_first_job(t, &first_suspect_query(), &[]).await?,
        false => None,
    };
    let Some(suspect) = suspect else {
        return job_row::find_first_job(t, &first_ready_query(), &[]).await;
    };
    let lets_others_go_first = suspect.queue_sequence + SUSPECT_TURNS >= claimed_sequence(t).await?;
    if lets_others_go_first && let Some(other) = job_row::find_first_job(t, &first_ready_query(), &[]).await? {
        return Ok(Some(other));
    }
    let is_alone = t.query_first(RUNNING, &[&holder]).await?.is_none();
    Ok(is_alone.then_some(suspect))
}

/// The place of the job claimed last.
async fn claimed_sequence(t: &PostgresSession) -> Result<u64, PostgresTransactionError> {
    get_number(&t.query_one("select last_value from turns", &[]).await?, "last_value")
}

/// Jobs whose wait is over take a turn like new ones. In the order of their lanes, as each lane is held to the end.
async fn requeue_due_jobs(t: &PostgresSession, now: ClockReading) -> Result<(), PostgresTransactionError> {
    let query = format!(
        "select {JOB} from jobs where id in ({OVER}) and state = 'queued' and due > 0 and due <= $1
         order by tenant, source, due, sequence for update skip locked"
    );
    for row in t
        .query_all(&query, &[&steady_nanoseconds(now.steady)?, &DUE_JOBS_AT_ONCE])
        .await?
    {
        let mut stored = job_row::read_job(&row)?;
        (stored.attempt_state.due, stored.attempt_state.wait) = (Duration::ZERO, None);
        stored.queue_sequence = last_sequence(t, stored.acl.tenant.as_str(), &stored.source).await?;
        update_job(t, &stored).await?;
    }
    Ok(())
}

/// Behind everything that is ready of the same tenant and source, and behind what was claimed: so every source with
/// something to do is served once before any is served twice. Holds the lane until the transaction ends.
pub async fn last_sequence(t: &PostgresSession, tenant: &str, source: &str) -> Result<u64, PostgresTransactionError> {
    let hold = "select 1 from lanes where tenant = $1 and source = $2 for update";
    if t.query_first(hold, &[&tenant, &source]).await?.is_none() {
        t.execute_statement(
            "insert into lanes (tenant, source) values ($1, $2) on conflict do nothing",
            &[&tenant, &source],
        )
        .await?;
        t.query_one(hold, &[&tenant, &source]).await?;
    }
    let turn = claimed_sequence(t).await?;
    let lane = t.query_first(LAST_IN_FAIR_QUEUE, &[&tenant, &source]).await?;
    let lane: Option<u64> = lane.map(|row| get_number(&row, "place")).transpose()?;
    Ok(turn.max(lane.unwrap_or(0)) + 1)
}

async fn find_candidates(
    c: &PostgresSession,
    query: &str,
    values: super::database::StatementValues<'_>,
) -> Result<Vec<JobId>, PostgresTransactionError> {
    let read = |row: &tokio_postgres::Row| Ok(JobId(get_uuid(row, "id")?));
    c.query_all(query, values).await?.iter().map(read).collect()
}

/// Takes a job from a worker that is gone, if nobody did and it did not come back; says whether.
async fn requeue_lost_job(
    t: &PostgresSession,
    candidate: JobId,
    is_lost: impl Fn(&StoredJob) -> bool,
    company: impl Fn(&StoredJob) -> ConcurrentJobs,
    now: ClockReading,
) -> Result<bool, PostgresTransactionError> {
    let found = job_row::load_job(t, candidate, RowLock::ForUpdate).await?;
    let lost = |stored: &StoredJob| stored.job.state == JobState::Running && is_lost(stored);
    let Some(mut stored) = found.filter(lost) else {
        return Ok(false);
    };
    let company = company(&stored);
    stored.attempt_state.record_death(&mut stored.job, company, now);
    update_job(t, &stored).await?;
    Ok(true)
}

/// Queues again what the process before this one held, and shortens waits that a clock set back made longer.
pub async fn requeue_interrupted_jobs(
    database: &PostgresDatabase,
    holder: Uuid,
    now: ClockReading,
) -> Result<u64, PostgresTransactionError> {
    let session = database.open_session().await?;
    // One by one: the processes that do so at once take no rows in another order.
    let too_long = "select id from jobs where state = 'queued' and due > 0 and due > $1 + wait";
    let moment = steady_nanoseconds(now.steady)?;
    for row in session.query_all(too_long, &[&moment]).await? {
        let shorten = "update jobs set due = $2 + wait where id = $1 and state = 'queued' and due > $2 + wait";
        session
            .execute_statement(shorten, &[&get_uuid(&row, "id")?, &moment])
            .await?;
    }
    let held = "select id from jobs where holder = $1 and state = 'running'";
    let candidates = find_candidates(&session, held, &[&holder]).await?;
    drop(session);
    let (mut count, company) = (0, ConcurrentJobs::from_job_count(candidates.len()));
    for candidate in candidates {
        let (was_held, company) = (|_: &StoredJob| true, |_: &StoredJob| company);
        count += u64::from(transact!(database, TransactionMode::Synced, |t| {
            requeue_lost_job(&t, candidate, was_held, company, now)
        })?);
    }
    Ok(count)
}

/// Everything that a claim asks of the queue.
#[cfg(test)]
pub fn questions() -> Vec<String> {
    [RAN_OUT, OVER, LAST_IN_FAIR_QUEUE, RUNNING]
        .map(String::from)
        .into_iter()
        .chain([first_ready_query(), first_suspect_query()])
        .collect()
}

/// Puts a job of a document in its place at the end of its lane.
pub async fn append_to_queue(t: &PostgresSession, mut stored: StoredJob) -> Result<Job, PostgresTransactionError> {
    stored.queue_sequence = last_sequence(t, stored.acl.tenant.as_str(), &stored.source).await?;
    update_job(t, &stored).await?;
    Ok(stored.job)
}
