//! Writes of a worker that holds a lease.
//!
//! Invariant: every write of a worker first calls [`lock_leased_job`], which locks the job's row, so a job that was
//! cancelled, taken over or ended accepts no more writes.

use std::time::Duration;

use ragstone_core::document::{DocumentStatus, JobError, JobKind, JobState};
use ragstone_core::seam::catalogue::{
    CatalogueError, ClockReading, JobLease, JobProgress, PublishOutcome, PublishedVersion, RetryDelay,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::database::PostgresSession;
use super::error::PostgresTransactionError;
use super::job_row::{load_job, update_held_job, update_job};
use super::row::{RowLock, load_document, update_document};
use super::statistics;
use crate::catalogue::stored::{StoredDocument, StoredJob};

/// Records that the accepted bytes are at their final key.
pub async fn mark_original_stored(t: &PostgresSession, lease: &JobLease) -> Result<(), PostgresTransactionError> {
    let found = load_document(t, lease.document, RowLock::ForUpdate).await?;
    let job = lock_leased_job(t, lease).await?;
    let mut stored = check_incarnation(found, &job)?;
    stored.stored_generation = Some(lease.generation);
    update_document(t, &stored).await
}

/// Whether a lease is valid, without locking its row.
pub async fn check_lease(c: &PostgresSession, lease: &JobLease) -> Result<StoredJob, PostgresTransactionError> {
    let stored = load_job(c, lease.job, RowLock::Unlocked).await?;
    stored
        .filter(|stored| stored.is_held_by(lease))
        .ok_or_else(stale_lease_error)
}

/// Extends the duration of a lease.
pub async fn extend_lease(
    t: &PostgresSession,
    holder: Uuid,
    lease: &JobLease,
    extend: Duration,
    now: ClockReading,
) -> Result<Duration, PostgresTransactionError> {
    let mut stored = lock_leased_job(t, lease).await?;
    let idle = stored.attempt_state.extend_lease(extend, now);
    update_held_job(t, &stored, holder).await?;
    Ok(idle)
}

/// Records the progress of a job.
pub async fn record_progress(
    t: &PostgresSession,
    holder: Uuid,
    lease: &JobLease,
    progress: JobProgress,
    now: ClockReading,
) -> Result<(), PostgresTransactionError> {
    let mut stored = lock_leased_job(t, lease).await?;
    stored.attempt_state.record_progress(&mut stored.job, progress, now);
    update_held_job(t, &stored, holder).await
}

/// Publishes the lease's generation.
pub async fn publish_version(
    t: &PostgresSession,
    lease: &JobLease,
    mut version: PublishedVersion,
    now: OffsetDateTime,
) -> Result<PublishOutcome, PostgresTransactionError> {
    let found = load_document(t, lease.document, RowLock::ForUpdate).await?;
    let job = lock_leased_job(t, lease).await?;
    let mut stored = check_incarnation(found, &job)?;
    if stored.document.status == DocumentStatus::Deleting {
        return Err(stale_lease_error());
    }
    let statistics = std::mem::take(&mut version.statistics);
    let replaced = stored.mark_published(lease.generation, version, now);
    update_document(t, &stored).await?;
    if let Some(replaced) = replaced {
        statistics::remove_generation(t, lease.document, replaced).await?;
    }
    statistics::add_generation(t, &stored.document.acl.tenant, lease, &statistics).await?;
    end_job(t, job, JobState::Succeeded, None, now).await?;
    Ok(PublishOutcome {
        replaced,
        acl_revision: stored.document.acl_revision,
    })
}

/// Ends a job as failed, without a retry.
pub async fn fail_job(
    t: &PostgresSession,
    lease: &JobLease,
    error: JobError,
    now: OffsetDateTime,
) -> Result<(), PostgresTransactionError> {
    load_document(t, lease.document, RowLock::ForUpdate).await?;
    let job = lock_leased_job(t, lease).await?;
    fail_document(t, &job, &error, now).await?;
    end_job(t, job, JobState::Failed, Some(error), now).await
}

/// Records a failed ingestion on its document, whose row is locked; the published version, if any, stays.
pub async fn fail_document(
    t: &PostgresSession,
    job: &StoredJob,
    error: &JobError,
    now: OffsetDateTime,
) -> Result<(), PostgresTransactionError> {
    let (JobKind::Ingest, Some(id)) = (job.job.kind, job.job.document_id) else {
        return Ok(());
    };
    let mut stored = check_incarnation(load_document(t, id, RowLock::ForUpdate).await?, job)?;
    stored.fail_ingestion(error, now);
    update_document(t, &stored).await
}

/// Queues a job again, to run after a delay.
pub async fn schedule_retry(
    t: &PostgresSession,
    lease: &JobLease,
    error: JobError,
    wait: RetryDelay,
    now: ClockReading,
) -> Result<(), PostgresTransactionError> {
    let mut stored = lock_leased_job(t, lease).await?;
    stored.attempt_state.schedule_retry(&mut stored.job, error, wait, now);
    update_job(t, &stored).await
}

/// Queues a job again at its old position.
pub async fn release_job(
    t: &PostgresSession,
    lease: &JobLease,
    now: OffsetDateTime,
) -> Result<(), PostgresTransactionError> {
    let mut stored = lock_leased_job(t, lease).await?;
    stored.attempt_state.release_job(&mut stored.job, now);
    update_job(t, &stored).await
}

/// Ends a purge. The last purge of a document that was not begun again deletes the document's row.
pub async fn finish_purge(
    t: &PostgresSession,
    lease: &JobLease,
    now: OffsetDateTime,
) -> Result<(), PostgresTransactionError> {
    load_document(t, lease.document, RowLock::ForUpdate).await?;
    let job = lock_leased_job(t, lease).await?;
    if job.job.kind != JobKind::Purge {
        return Err(stale_lease_error());
    }
    end_job(t, job, JobState::Succeeded, None, now).await?;
    t.execute_statement(
        "delete from documents where id = $1 and status = 'deleting' and not exists (
           select 1 from jobs where document = $1 and kind = 'purge' and state in ('queued', 'running'))",
        &[&lease.document.0],
    )
    .await
    .map(drop)
}

/// The running job of `lease`, if it is still valid; its row is locked until the transaction ends.
pub async fn lock_leased_job(t: &PostgresSession, lease: &JobLease) -> Result<StoredJob, PostgresTransactionError> {
    let stored = load_job(t, lease.job, RowLock::ForUpdate).await?;
    stored
        .filter(|stored| stored.is_held_by(lease))
        .ok_or_else(stale_lease_error)
}

/// Returns the document if it has the job's incarnation.
pub fn check_incarnation(
    found: Option<StoredDocument>,
    job: &StoredJob,
) -> Result<StoredDocument, PostgresTransactionError> {
    found
        .filter(|stored| stored.incarnation == job.incarnation)
        .ok_or_else(stale_lease_error)
}

pub fn stale_lease_error() -> PostgresTransactionError {
    CatalogueError::Stale.into()
}

/// Ends a job whose row is locked.
pub async fn end_job(
    t: &PostgresSession,
    mut stored: StoredJob,
    state: JobState,
    error: Option<JobError>,
    now: OffsetDateTime,
) -> Result<(), PostgresTransactionError> {
    stored.attempt_state.end_job(&mut stored.job, state, error, now);
    update_job(t, &stored).await
}
