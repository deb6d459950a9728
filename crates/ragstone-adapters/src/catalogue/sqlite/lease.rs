//! Writes of a worker that holds a lease.
//!
//! Invariant: every write of a worker first calls [`load_leased_job`], so a job that was cancelled, taken over or
//! ended accepts no more writes.

use std::time::Duration;

use ragstone_core::document::{DocumentStatus, Job, JobError, JobKind, JobState};
use ragstone_core::seam::catalogue::{
    CatalogueError, ClockReading, JobLease, JobProgress, PublishOutcome, PublishedVersion, RetryDelay,
};
use rusqlite::Connection;
use time::OffsetDateTime;

use super::SqliteTransactionError;
use super::job_row::StoredJob;
use super::row::StoredDocument;
use super::statistics::{self as term_statistics, StatisticsChange};

/// Records that the accepted bytes are at their final key.
pub fn mark_original_stored(t: &Connection, lease: &JobLease) -> Result<(), SqliteTransactionError> {
    let job = load_leased_job(t, lease)?;
    let mut document = load_leased_document(t, &job)?;
    document.stored_generation = Some(lease.generation);
    document.save_document(t)
}

/// Whether a lease is valid, without waiting for the writer.
pub fn check_lease(connection: &Connection, lease: &JobLease) -> Result<StoredJob, SqliteTransactionError> {
    load_leased_job(connection, lease)
}

/// Extends the duration of a lease.
pub fn extend_lease(
    t: &Connection,
    lease: &JobLease,
    extend: Duration,
    now: ClockReading,
) -> Result<Duration, SqliteTransactionError> {
    let mut stored = load_leased_job(t, lease)?;
    let idle = stored.attempt_state.extend_lease(extend, now);
    stored.update_job(t)?;
    Ok(idle)
}

/// Records the progress of a job.
pub fn record_progress(
    t: &Connection,
    lease: &JobLease,
    progress: JobProgress,
    now: ClockReading,
) -> Result<(), SqliteTransactionError> {
    let mut stored = load_leased_job(t, lease)?;
    stored.attempt_state.record_progress(&mut stored.job, progress, now);
    stored.update_job(t)
}

/// Publishes the lease's generation.
pub fn publish_version(
    t: &Connection,
    changes: &mut Vec<StatisticsChange>,
    lease: &JobLease,
    mut version: PublishedVersion,
    now: OffsetDateTime,
) -> Result<PublishOutcome, SqliteTransactionError> {
    let job = load_leased_job(t, lease)?;
    let mut stored = load_leased_document(t, &job)?;
    if stored.document.status == DocumentStatus::Deleting {
        return Err(CatalogueError::Stale.into());
    }
    let statistics = std::mem::take(&mut version.statistics);
    let replaced = stored.mark_published(lease.generation, version, now);
    stored.save_document(t)?;
    if let Some(replaced) = replaced {
        changes.extend(term_statistics::remove_generation(t, lease.document, replaced)?);
    }
    let tenant = &stored.document.acl.tenant;
    changes.push(term_statistics::add_generation(t, tenant, lease, statistics)?);
    end_job(t, job, JobState::Succeeded, None, now)?;
    Ok(PublishOutcome {
        replaced,
        acl_revision: stored.document.acl_revision,
    })
}

/// Ends a job as failed, without a retry.
pub fn fail_job(
    t: &Connection,
    lease: &JobLease,
    error: JobError,
    now: OffsetDateTime,
) -> Result<(), SqliteTransactionError> {
    let job = load_leased_job(t, lease)?;
    fail_document(t, &job, &error, now)?;
    end_job(t, job, JobState::Failed, Some(error), now).map(drop)
}

/// Records a failed ingestion on its document; the published version, if any, stays.
pub fn fail_document(
    t: &Connection,
    job: &StoredJob,
    error: &JobError,
    now: OffsetDateTime,
) -> Result<(), SqliteTransactionError> {
    if job.job.kind != JobKind::Ingest {
        return Ok(());
    }
    let mut stored = load_leased_document(t, job)?;
    stored.fail_ingestion(error, now);
    stored.save_document(t)
}

/// Queues a job again, to run after a delay.
pub fn schedule_retry(
    t: &Connection,
    lease: &JobLease,
    error: JobError,
    wait: RetryDelay,
    now: ClockReading,
) -> Result<(), SqliteTransactionError> {
    let mut stored = load_leased_job(t, lease)?;
    stored.attempt_state.schedule_retry(&mut stored.job, error, wait, now);
    stored.update_job(t)
}

/// Queues a job again at its old position.
pub fn release_job(t: &Connection, lease: &JobLease, now: OffsetDateTime) -> Result<(), SqliteTransactionError> {
    let mut stored = load_leased_job(t, lease)?;
    stored.attempt_state.release_job(&mut stored.job, now);
    stored.update_job(t)
}

/// Ends a purge. The last purge of a document that was not begun again deletes the document's row.
pub fn finish_purge(t: &Connection, lease: &JobLease, now: OffsetDateTime) -> Result<(), SqliteTransactionError> {
    let job = load_leased_job(t, lease)?;
    if job.job.kind != JobKind::Purge {
        return Err(CatalogueError::Stale.into());
    }
    end_job(t, job, JobState::Succeeded, None, now)?;
    t.execute(
        "delete from documents where id = ?1 and status = 'deleting' and not exists (
           select 1 from jobs where document = ?1 and kind = 'purge' and state in ('queued', 'running'))",
        [lease.document.0],
    )?;
    Ok(())
}

/// The running job of `lease`, if it is still valid.
pub fn load_leased_job(t: &Connection, lease: &JobLease) -> Result<StoredJob, SqliteTransactionError> {
    let stored = StoredJob::load_job(t, lease.job)?.filter(|stored| stored.is_held_by(lease));
    stored.ok_or(SqliteTransactionError::Rule(CatalogueError::Stale))
}

/// Document of a job whose lease is valid, if it has the job's incarnation.
pub fn load_leased_document(t: &Connection, job: &StoredJob) -> Result<StoredDocument, SqliteTransactionError> {
    let stored = job.job.document_id.map(|id| StoredDocument::load_document(t, id));
    let stored = stored
        .transpose()?
        .flatten()
        .filter(|stored| stored.incarnation == job.incarnation);
    stored.ok_or(SqliteTransactionError::Rule(CatalogueError::Stale))
}

/// Ends a job in the given final state.
pub fn end_job(
    t: &Connection,
    mut stored: StoredJob,
    state: JobState,
    error: Option<JobError>,
    now: OffsetDateTime,
) -> Result<Job, SqliteTransactionError> {
    stored.attempt_state.end_job(&mut stored.job, state, error, now);
    stored.update_job(t)?;
    Ok(stored.job)
}
