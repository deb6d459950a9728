//! What a worker writes.
//!
//! Invariant: what a worker writes passes [`leased`] first, so a job that was cancelled, taken over or ended takes
//! nothing more.

use std::time::Duration;

use ragstone_core::document::{DocumentStatus, Job, JobError, JobKind, JobState};
use ragstone_core::seam::catalogue::{CatalogueError, Flipped, Lease, Moment, Progress, PublishedVersion, Wait};
use rusqlite::Connection;
use time::OffsetDateTime;

use super::Failure;
use super::job_row::StoredJob;
use super::row::StoredDocument;
use super::statistics::{self as term_statistics, Change};

/// Notes that the accepted bytes are at their final key.
pub fn stored(t: &Connection, lease: &Lease) -> Result<(), Failure> {
    let job = leased(t, lease)?;
    let mut document = document_of(t, &job)?;
    document.stored = Some(lease.generation);
    document.save(t)
}

/// Whether a lease holds, without waiting for the writer.
pub fn holds(connection: &Connection, lease: &Lease) -> Result<StoredJob, Failure> {
    leased(connection, lease)
}

/// Extends a lease.
pub fn heartbeat(t: &Connection, lease: &Lease, extend: Duration, now: Moment) -> Result<Duration, Failure> {
    let mut stored = leased(t, lease)?;
    let idle = stored.course.extend(extend, now);
    stored.update(t)?;
    Ok(idle)
}

/// Notes how far a job is.
pub fn progress(t: &Connection, lease: &Lease, progress: Progress, now: Moment) -> Result<(), Failure> {
    let mut stored = leased(t, lease)?;
    stored.course.note(&mut stored.job, progress, now);
    stored.update(t)
}

/// Makes the lease's generation the published one.
pub fn publish(
    t: &Connection,
    changes: &mut Vec<Change>,
    lease: &Lease,
    mut version: PublishedVersion,
    now: OffsetDateTime,
) -> Result<Flipped, Failure> {
    let job = leased(t, lease)?;
    let mut stored = document_of(t, &job)?;
    if stored.document.status == DocumentStatus::Deleting {
        return Err(CatalogueError::Stale.into());
    }
    let statistics = std::mem::take(&mut version.statistics);
    let replaced = stored.publish(lease.generation, version, now);
    stored.save(t)?;
    if let Some(replaced) = replaced {
        changes.extend(term_statistics::withdraw(t, lease.document, replaced)?);
    }
    let tenant = &stored.document.acl.tenant;
    changes.push(term_statistics::contribute(t, tenant, lease, statistics)?);
    end(t, job, JobState::Succeeded, None, now)?;
    Ok(Flipped {
        replaced,
        acl_revision: stored.document.acl_revision,
    })
}

/// Ends a job for good.
pub fn fail(t: &Connection, lease: &Lease, error: JobError, now: OffsetDateTime) -> Result<(), Failure> {
    let job = leased(t, lease)?;
    give_up(t, &job, &error, now)?;
    end(t, job, JobState::Failed, Some(error), now).map(drop)
}

/// A document whose ingestion ended without a version keeps the one it has, if any.
pub fn give_up(t: &Connection, job: &StoredJob, error: &JobError, now: OffsetDateTime) -> Result<(), Failure> {
    if job.job.kind != JobKind::Ingest {
        return Ok(());
    }
    let mut stored = document_of(t, job)?;
    stored.give_up(error, now);
    stored.save(t)
}

/// Queues a job again, for later.
pub fn retry(t: &Connection, lease: &Lease, error: JobError, wait: Wait, now: Moment) -> Result<(), Failure> {
    let mut stored = leased(t, lease)?;
    stored.course.fail_once(&mut stored.job, error, wait, now);
    stored.update(t)
}

/// Queues a job again in its old place.
pub fn hand_back(t: &Connection, lease: &Lease, now: OffsetDateTime) -> Result<(), Failure> {
    let mut stored = leased(t, lease)?;
    stored.course.hand_back(&mut stored.job, now);
    stored.update(t)
}

/// Ends a purge. The row goes with the last purge of a document that was not begun again.
pub fn purged(t: &Connection, lease: &Lease, now: OffsetDateTime) -> Result<(), Failure> {
    let job = leased(t, lease)?;
    if job.job.kind != JobKind::Purge {
        return Err(CatalogueError::Stale.into());
    }
    end(t, job, JobState::Succeeded, None, now)?;
    t.execute(
        "delete from documents where id = ?1 and status = 'deleting' and not exists (
           select 1 from jobs where document = ?1 and kind = 'purge' and state in ('queued', 'running'))",
        [lease.document.0],
    )?;
    Ok(())
}

/// The running job of `lease`, if it still holds.
pub fn leased(t: &Connection, lease: &Lease) -> Result<StoredJob, Failure> {
    let stored = StoredJob::load(t, lease.job)?.filter(|stored| stored.is_held_by(lease));
    stored.ok_or(Failure::Rule(CatalogueError::Stale))
}

/// The document of a job that holds, of the life that the job is about.
pub fn document_of(t: &Connection, job: &StoredJob) -> Result<StoredDocument, Failure> {
    let stored = job.job.document_id.map(|id| StoredDocument::load(t, id));
    let stored = stored.transpose()?.flatten().filter(|stored| stored.life == job.life);
    stored.ok_or(Failure::Rule(CatalogueError::Stale))
}

/// Ends a job.
pub fn end(
    t: &Connection,
    mut stored: StoredJob,
    state: JobState,
    error: Option<JobError>,
    now: OffsetDateTime,
) -> Result<Job, Failure> {
    stored.course.end(&mut stored.job, state, error, now);
    stored.update(t)?;
    Ok(stored.job)
}
