//! What a worker writes.
//!
//! Invariant: what a worker writes passes [`leased`] first, while the job's row is held, so a job that was cancelled, taken
//! over or ended takes nothing more.

use std::time::Duration;

use ragstone_core::document::{DocumentStatus, JobError, JobKind, JobState};
use ragstone_core::seam::catalogue::{CatalogueError, Flipped, Lease, Moment, Progress, PublishedVersion, Wait};
use time::OffsetDateTime;
use uuid::Uuid;

use super::database::Session;
use super::error::Failure;
use super::job_row::{job, update_held_job, update_job};
use super::row::{Hold, document, update_document};
use super::statistics;
use crate::catalogue::stored::{StoredDocument, StoredJob};

/// Notes that the accepted bytes are at their final key.
pub async fn stored(t: &Session, lease: &Lease) -> Result<(), Failure> {
    let found = document(t, lease.document, Hold::Row).await?;
    let job = leased(t, lease).await?;
    let mut stored = of_its_life(found, &job)?;
    stored.stored = Some(lease.generation);
    update_document(t, &stored).await
}

/// Whether a lease holds, without holding its row.
pub async fn holds(c: &Session, lease: &Lease) -> Result<StoredJob, Failure> {
    let stored = job(c, lease.job, Hold::No).await?;
    stored.filter(|stored| stored.is_held_by(lease)).ok_or_else(stale)
}

/// Extends a lease.
pub async fn heartbeat(
    t: &Session,
    holder: Uuid,
    lease: &Lease,
    extend: Duration,
    now: Moment,
) -> Result<Duration, Failure> {
    let mut stored = leased(t, lease).await?;
    let idle = stored.course.extend(extend, now);
    update_held_job(t, &stored, holder).await?;
    Ok(idle)
}

/// Notes how far a job is.
pub async fn progress(
    t: &Session,
    holder: Uuid,
    lease: &Lease,
    progress: Progress,
    now: Moment,
) -> Result<(), Failure> {
    let mut stored = leased(t, lease).await?;
    stored.course.note(&mut stored.job, progress, now);
    update_held_job(t, &stored, holder).await
}

/// Makes the lease's generation the published one.
pub async fn publish(
    t: &Session,
    lease: &Lease,
    mut version: PublishedVersion,
    now: OffsetDateTime,
) -> Result<Flipped, Failure> {
    let found = document(t, lease.document, Hold::Row).await?;
    let job = leased(t, lease).await?;
    let mut stored = of_its_life(found, &job)?;
    if stored.document.status == DocumentStatus::Deleting {
        return Err(stale());
    }
    let statistics = std::mem::take(&mut version.statistics);
    let replaced = stored.publish(lease.generation, version, now);
    update_document(t, &stored).await?;
    if let Some(replaced) = replaced {
        statistics::withdraw(t, lease.document, replaced).await?;
    }
    statistics::contribute(t, &stored.document.acl.tenant, lease, &statistics).await?;
    end(t, job, JobState::Succeeded, None, now).await?;
    Ok(Flipped {
        replaced,
        acl_revision: stored.document.acl_revision,
    })
}

/// Ends a job for good.
pub async fn fail(t: &Session, lease: &Lease, error: JobError, now: OffsetDateTime) -> Result<(), Failure> {
    document(t, lease.document, Hold::Row).await?;
    let job = leased(t, lease).await?;
    give_up(t, &job, &error, now).await?;
    end(t, job, JobState::Failed, Some(error), now).await
}

/// A document whose ingestion ended without a version keeps the one it has, if any. Its row is held.
pub async fn give_up(t: &Session, job: &StoredJob, error: &JobError, now: OffsetDateTime) -> Result<(), Failure> {
    let (JobKind::Ingest, Some(id)) = (job.job.kind, job.job.document_id) else {
        return Ok(());
    };
    let mut stored = of_its_life(document(t, id, Hold::Row).await?, job)?;
    stored.give_up(error, now);
    update_document(t, &stored).await
}

/// Queues a job again, for later.
pub async fn retry(t: &Session, lease: &Lease, error: JobError, wait: Wait, now: Moment) -> Result<(), Failure> {
    let mut stored = leased(t, lease).await?;
    stored.course.fail_once(&mut stored.job, error, wait, now);
    update_job(t, &stored).await
}

/// Queues a job again in its old place.
pub async fn hand_back(t: &Session, lease: &Lease, now: OffsetDateTime) -> Result<(), Failure> {
    let mut stored = leased(t, lease).await?;
    stored.course.hand_back(&mut stored.job, now);
    update_job(t, &stored).await
}

/// Ends a purge. The row goes with the last purge of a document that was not begun again.
pub async fn purged(t: &Session, lease: &Lease, now: OffsetDateTime) -> Result<(), Failure> {
    document(t, lease.document, Hold::Row).await?;
    let job = leased(t, lease).await?;
    if job.job.kind != JobKind::Purge {
        return Err(stale());
    }
    end(t, job, JobState::Succeeded, None, now).await?;
    t.run(
        "delete from documents where id = $1 and status = 'deleting' and not exists (
           select 1 from jobs where document = $1 and kind = 'purge' and state in ('queued', 'running'))",
        &[&lease.document.0],
    )
    .await
    .map(drop)
}

/// The running job of `lease`, if it still holds; nobody else writes its row until the transaction ends.
pub async fn leased(t: &Session, lease: &Lease) -> Result<StoredJob, Failure> {
    let stored = job(t, lease.job, Hold::Row).await?;
    stored.filter(|stored| stored.is_held_by(lease)).ok_or_else(stale)
}

/// The document, if it is of the life that the job is about.
pub fn of_its_life(found: Option<StoredDocument>, job: &StoredJob) -> Result<StoredDocument, Failure> {
    found.filter(|stored| stored.life == job.life).ok_or_else(stale)
}

pub fn stale() -> Failure {
    CatalogueError::Stale.into()
}

/// Ends a job whose row is held.
pub async fn end(
    t: &Session,
    mut stored: StoredJob,
    state: JobState,
    error: Option<JobError>,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    stored.course.end(&mut stored.job, state, error, now);
    update_job(t, &stored).await
}
