//! The job queue: claims, positions, and jobs of lost workers.
//!
//! Invariant: no claim reads more rows than it changes, except suspects, of which there are at most as many as workers
//! that died: each query has a matching index. A claim waits for no other process: it skips locked rows. While a
//! process runs a suspect it claims nothing else, so the claims of one process run one after another.

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

/// Most due jobs that one claim returns to the queue.
const DUE_JOBS_AT_ONCE: i64 = 64;
/// Most jobs with an expired lease that one claim takes from their workers.
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

/// Whether this process runs any job.
const RUNNING: &str = "select 1 from jobs where holder = $1 and state = 'running' limit 1";

/// Checks of a claim before it changes anything, in one statement: nearly always all are false.
const ASKED: &str = "select
    exists (select 1 from jobs where lease_until <= $1) as ran_out,
    exists (select 1 from jobs where state = 'queued' and due > 0 and due <= $1) as over,
    exists (select 1 from jobs where state = 'queued' and due = 0) as ready,
    exists (select 1 from jobs where suspect and state = 'queued') as suspected,
    exists (select 1 from jobs where holder = $2 and state = 'running' and suspect) as taken_up";

/// Claims the next job that may run. A process must not call it concurrently.
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
    // If a lease ran out, the running suspect may have been requeued above, so check again.
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
        // `setval` is not transactional and need not be: a position that is off by one only serves some source a
        // little sooner.
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

/// The next job to claim. A suspect comes after all others, unless it let too many of them go first, and only while
/// its process runs nothing else.
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

/// Queue position of the job claimed last.
async fn claimed_sequence(t: &PostgresSession) -> Result<u64, PostgresTransactionError> {
    get_number(&t.query_one("select last_value from turns", &[]).await?, "last_value")
}

/// Appends due jobs to the queue like new ones. They are ordered by fair queue, because each fair queue is locked to
/// the end of the transaction and a fixed order avoids deadlocks.
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

/// Next queue position for the tenant and source: after all ready jobs of the same tenant and source, and after what
/// was claimed last; so every source with jobs is served once before any is served twice. Locks the fair queue until
/// the transaction ends.
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

/// Requeues a job of a lost worker, if it is still running and `is_lost`; returns whether it was.
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

/// Requeues the jobs that the previous process with this `holder` ran, and shortens waits that grew because the clock
/// was set back.
pub async fn requeue_interrupted_jobs(
    database: &PostgresDatabase,
    holder: Uuid,
    now: ClockReading,
) -> Result<u64, PostgresTransactionError> {
    let session = database.open_session().await?;
    // One statement per job: concurrent processes could otherwise lock rows in different orders.
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

/// All queries that a claim runs.
#[cfg(test)]
pub fn questions() -> Vec<String> {
    [RAN_OUT, OVER, LAST_IN_FAIR_QUEUE, RUNNING]
        .map(String::from)
        .into_iter()
        .chain([first_ready_query(), first_suspect_query()])
        .collect()
}

/// Appends a job of a document to the end of its fair queue.
pub async fn append_to_queue(t: &PostgresSession, mut stored: StoredJob) -> Result<Job, PostgresTransactionError> {
    stored.queue_sequence = last_sequence(t, stored.acl.tenant.as_str(), &stored.source).await?;
    update_job(t, &stored).await?;
    Ok(stored.job)
}
