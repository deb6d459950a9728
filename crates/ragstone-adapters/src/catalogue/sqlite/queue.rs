//! The job queue: claims, positions, and jobs of lost workers.
//!
//! Invariant: no claim reads more rows than it changes, except suspects, of which there are at most as many as workers
//! that died: each query has a matching index. While a suspect runs, nothing else is claimed.

use std::time::Duration;

use ragstone_core::document::{JobKind, JobState, WorkerId};
use ragstone_core::seam::catalogue::{ClaimedJob, ClockReading, ConcurrentJobs, SUSPECT_TURNS};
use rusqlite::{Connection, OptionalExtension};

use super::SqliteTransactionError;
use super::job_row::StoredJob;
use super::lease::end_job;
use super::row::{StoredDocument, draw_generation};
use crate::catalogue::stored::missing_document_error;
use crate::catalogue::value::steady_nanoseconds;

/// Most due jobs that one claim returns to the queue.
const DUE_JOBS_AT_ONCE: u32 = 64;

const RAN_OUT: &str = "select * from jobs where lease_until <= ?1";
const FIRST: &str = "select * from jobs where state = 'queued' and due = 0 and suspect = 0
    order by place, sequence limit 1";
const FIRST_SUSPECT: &str = "select * from jobs where suspect = 1 and state = 'queued' and due = 0
    order by place, sequence limit 1";
const RUNNING_SUSPECT: &str = "select 1 from jobs where suspect = 1 and state = 'running' limit 1";
const RUNNING: &str = "select 1 from jobs where lease_until is not null limit 1";
const OVER: &str =
    "select * from jobs where state = 'queued' and due > 0 and due <= ?1 order by due, sequence limit ?2";
const LAST_IN_FAIR_QUEUE: &str = "select place from jobs
    where tenant = ?1 and source = ?2 and state = 'queued' and due = 0 order by place desc limit 1";

/// All queries that a claim runs.
#[cfg(test)]
pub const CLAIM_QUERIES: [&str; 7] = [
    RAN_OUT,
    FIRST,
    FIRST_SUSPECT,
    RUNNING_SUSPECT,
    RUNNING,
    OVER,
    LAST_IN_FAIR_QUEUE,
];

/// Claims the next job that may run.
pub fn claim_job(
    t: &Connection,
    worker: WorkerId,
    lease: Duration,
    now: ClockReading,
) -> Result<Option<ClaimedJob>, SqliteTransactionError> {
    for stored in StoredJob::find_all(t, RAN_OUT, [steady_nanoseconds(now.steady)?])? {
        let company = stored.attempt_state.concurrent_jobs();
        requeue_lost_job(t, stored, company, now)?;
    }
    requeue_due_jobs(t, now)?;
    while let Some(mut stored) = next_job(t)? {
        let document = stored.job.document_id.map(|id| StoredDocument::load_document(t, id));
        let Some(document) = document.transpose()?.flatten() else {
            end_job(t, stored, JobState::Failed, Some(missing_document_error()), now.wall)?;
            continue;
        };
        t.prepare_cached("update counters set value = max(value, ?1) where name = 'turn'")?
            .execute([stored.queue_sequence])?;
        stored.attempt_state.start_attempt(&mut stored.job, worker, lease, now);
        if stored.job.kind == JobKind::Ingest {
            stored.job.generation = draw_generation(t)?;
        }
        stored.update_job(t)?;
        return Ok(Some(stored.into_claimed_job(document)));
    }
    Ok(None)
}

/// The next job to claim. A suspect comes after all others, unless it let too many of them go first, and only while
/// nothing else runs.
fn next_job(t: &Connection) -> Result<Option<StoredJob>, SqliteTransactionError> {
    if has_row(t, RUNNING_SUSPECT)? {
        return Ok(None);
    }
    let Some(suspect) = StoredJob::find_first(t, FIRST_SUSPECT, [])? else {
        return StoredJob::find_first(t, FIRST, []);
    };
    let lets_others_go_first = suspect.queue_sequence + SUSPECT_TURNS >= claimed_sequence(t)?;
    if lets_others_go_first && let Some(other) = StoredJob::find_first(t, FIRST, [])? {
        return Ok(Some(other));
    }
    Ok((!has_row(t, RUNNING)?).then_some(suspect))
}

fn has_row(t: &Connection, question: &str) -> Result<bool, SqliteTransactionError> {
    Ok(t.prepare_cached(question)?.exists([])?)
}

/// Queue position of the job claimed last.
fn claimed_sequence(t: &Connection) -> Result<u64, SqliteTransactionError> {
    let mut statement = t.prepare_cached("select value from counters where name = 'turn'")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Appends due jobs to the queue like new ones.
fn requeue_due_jobs(t: &Connection, now: ClockReading) -> Result<(), SqliteTransactionError> {
    for mut stored in StoredJob::find_all(t, OVER, (steady_nanoseconds(now.steady)?, DUE_JOBS_AT_ONCE))? {
        (stored.attempt_state.due, stored.attempt_state.wait) = (Duration::ZERO, None);
        stored.queue_sequence = last_sequence(t, stored.acl.tenant.as_str(), &stored.source)?;
        stored.update_job(t)?;
    }
    Ok(())
}

/// Next queue position for the tenant and source: after all ready jobs of the same tenant and source, and after what
/// was claimed last; so every source with jobs is served once before any is served twice.
pub fn last_sequence(t: &Connection, tenant: &str, source: &str) -> Result<u64, SqliteTransactionError> {
    let turn = claimed_sequence(t)?;
    let lane: Option<u64> = t
        .prepare_cached(LAST_IN_FAIR_QUEUE)?
        .query_row((tenant, source), |row| row.get(0))
        .optional()?;
    Ok(turn.max(lane.unwrap_or(0)) + 1)
}

/// Requeues a job of a lost worker.
fn requeue_lost_job(
    t: &Connection,
    mut stored: StoredJob,
    company: ConcurrentJobs,
    now: ClockReading,
) -> Result<(), SqliteTransactionError> {
    stored.attempt_state.record_death(&mut stored.job, company, now);
    stored.update_job(t)
}

/// Requeues the jobs that ran when the last process ended, and converts waits to this process's clock.
pub fn requeue_interrupted_jobs(t: &Connection, now: ClockReading) -> Result<u64, SqliteTransactionError> {
    let waiting = "select * from jobs where state = 'queued' and wait is not null";
    for mut stored in StoredJob::find_all(t, waiting, [])? {
        stored.attempt_state.resume_wait(now);
        stored.update_job(t)?;
    }
    let running = StoredJob::find_all(t, "select * from jobs where state = 'running' and kind <> 'batch'", [])?;
    let count = running.len() as u64;
    let company = ConcurrentJobs::from_job_count(running.len());
    for stored in running {
        requeue_lost_job(t, stored, company, now)?;
    }
    Ok(count)
}
