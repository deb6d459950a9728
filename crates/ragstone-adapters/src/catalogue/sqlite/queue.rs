//! The queue: who is next, who takes it, and who lost it.
//!
//! Invariant: no claim looks at more rows than it moves, suspects apart, of which there are never more than workers that
//! died: each question has an index of the rows that may answer it. Beside a suspect nothing is claimed.

use std::time::Duration;

use ragstone_core::document::{JobKind, JobState, Worker};
use ragstone_core::seam::catalogue::{Claim, Company, Moment, SUSPECT_TURNS};
use rusqlite::{Connection, OptionalExtension};

use super::Failure;
use super::job_row::StoredJob;
use super::lease::end;
use super::row::{StoredDocument, draw_generation};
use crate::catalogue::stored::no_document;
use crate::catalogue::value::steady;

/// Jobs whose wait is over that one claim puts back in line.
const WOKEN_AT_ONCE: u32 = 64;

const RAN_OUT: &str = "select * from jobs where lease_until <= ?1";
const FIRST: &str = "select * from jobs where state = 'queued' and due = 0 and suspect = 0
    order by place, sequence limit 1";
const FIRST_SUSPECT: &str = "select * from jobs where suspect = 1 and state = 'queued' and due = 0
    order by place, sequence limit 1";
const RUNNING_SUSPECT: &str = "select 1 from jobs where suspect = 1 and state = 'running' limit 1";
const RUNNING: &str = "select 1 from jobs where lease_until is not null limit 1";
const OVER: &str =
    "select * from jobs where state = 'queued' and due > 0 and due <= ?1 order by due, sequence limit ?2";
const LAST_OF_LANE: &str = "select place from jobs
    where tenant = ?1 and source = ?2 and state = 'queued' and due = 0 order by place desc limit 1";

/// Everything that a claim asks of the queue.
#[cfg(test)]
pub const QUESTIONS: [&str; 7] = [
    RAN_OUT,
    FIRST,
    FIRST_SUSPECT,
    RUNNING_SUSPECT,
    RUNNING,
    OVER,
    LAST_OF_LANE,
];

/// Takes the next job that may run.
pub fn claim(t: &Connection, worker: Worker, lease: Duration, now: Moment) -> Result<Option<Claim>, Failure> {
    for stored in StoredJob::all(t, RAN_OUT, [steady(now.steady)?])? {
        let company = stored.course.company();
        bury(t, stored, company, now)?;
    }
    wake(t, now)?;
    while let Some(mut stored) = next(t)? {
        let document = stored.job.document_id.map(|id| StoredDocument::load(t, id));
        let Some(document) = document.transpose()?.flatten() else {
            end(t, stored, JobState::Failed, Some(no_document()), now.wall)?;
            continue;
        };
        t.prepare_cached("update counters set value = max(value, ?1) where name = 'turn'")?
            .execute([stored.place])?;
        stored.course.claim(&mut stored.job, worker, lease, now);
        if stored.job.kind == JobKind::Ingest {
            stored.job.generation = draw_generation(t)?;
        }
        stored.update(t)?;
        return Ok(Some(stored.claimed(document)));
    }
    Ok(None)
}

/// A suspect comes after all others, unless it let too many of them go first, and only where nothing else runs.
fn next(t: &Connection) -> Result<Option<StoredJob>, Failure> {
    if any(t, RUNNING_SUSPECT)? {
        return Ok(None);
    }
    let Some(suspect) = StoredJob::first(t, FIRST_SUSPECT, [])? else {
        return StoredJob::first(t, FIRST, []);
    };
    let lets_others_go_first = suspect.place + SUSPECT_TURNS >= turn(t)?;
    if lets_others_go_first && let Some(other) = StoredJob::first(t, FIRST, [])? {
        return Ok(Some(other));
    }
    Ok((!any(t, RUNNING)?).then_some(suspect))
}

fn any(t: &Connection, question: &str) -> Result<bool, Failure> {
    Ok(t.prepare_cached(question)?.exists([])?)
}

/// The place of the job claimed last.
fn turn(t: &Connection) -> Result<u64, Failure> {
    let mut statement = t.prepare_cached("select value from counters where name = 'turn'")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Jobs whose wait is over take a turn like new ones.
fn wake(t: &Connection, now: Moment) -> Result<(), Failure> {
    for mut stored in StoredJob::all(t, OVER, (steady(now.steady)?, WOKEN_AT_ONCE))? {
        (stored.course.due, stored.course.wait) = (Duration::ZERO, None);
        stored.place = last_place(t, stored.acl.tenant.as_str(), &stored.source)?;
        stored.update(t)?;
    }
    Ok(())
}

/// Behind everything that is ready of the same tenant and source, and behind what was claimed: so every source with
/// something to do is served once before any is served twice.
pub fn last_place(t: &Connection, tenant: &str, source: &str) -> Result<u64, Failure> {
    let turn = turn(t)?;
    let lane: Option<u64> = t
        .prepare_cached(LAST_OF_LANE)?
        .query_row((tenant, source), |row| row.get(0))
        .optional()?;
    Ok(turn.max(lane.unwrap_or(0)) + 1)
}

/// Takes a job from a worker that is gone.
fn bury(t: &Connection, mut stored: StoredJob, company: Company, now: Moment) -> Result<(), Failure> {
    stored.course.die(&mut stored.job, company, now);
    stored.update(t)
}

/// Queues again what ran when the last process ended, and counts waits by this process's clock.
pub fn take_back(t: &Connection, now: Moment) -> Result<u64, Failure> {
    let waiting = "select * from jobs where state = 'queued' and wait is not null";
    for mut stored in StoredJob::all(t, waiting, [])? {
        stored.course.begin_again(now);
        stored.update(t)?;
    }
    let running = StoredJob::all(t, "select * from jobs where state = 'running' and kind <> 'batch'", [])?;
    let count = running.len() as u64;
    let company = Company::among(running.len());
    for stored in running {
        bury(t, stored, company, now)?;
    }
    Ok(count)
}
