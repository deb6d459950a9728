//! The ledger of jobs.
//!
//! Invariant: what a worker writes passes [`leased`] first, so a job that was cancelled, taken over or ended takes
//! nothing more.

use ragstone_core::access::Scope;
use ragstone_core::document::{DocumentStatus, Job, JobError, JobKind, JobState, Stage};
use ragstone_core::id::JobId;
use ragstone_core::seam::catalogue::{
    CatalogueError, Claim, Flipped, JobFilter, Lease, Original, Page, PageRequest, Progress, PublishedVersion,
};
use rusqlite::{Connection, named_params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Failure;
use super::cursor::Key;
use super::row::{Newest, StoredDocument, StoredJob, acl, draw_generation, nanoseconds, write_word};
use super::statistics::{self, Change};

/// Takes the oldest job that may run.
pub fn claim(t: &Connection, now: OffsetDateTime) -> Result<Option<Claim>, Failure> {
    while let Some(mut stored) = oldest(t, now)? {
        let Some(document) = StoredDocument::load(t, stored.job.document_id)? else {
            end(t, stored, JobState::Failed, Some(no_document()), now)?;
            continue;
        };
        let job = &mut stored.job;
        job.state = JobState::Running;
        job.attempts += 1;
        job.updated_at = now;
        (job.stage, job.generation) = match job.kind {
            JobKind::Ingest => (Stage::Load, draw_generation(t)?),
            JobKind::Purge => (Stage::Purge, job.generation),
        };
        stored.update(t)?;
        return Ok(Some(claimed(stored.job, document)));
    }
    Ok(None)
}

fn oldest(t: &Connection, now: OffsetDateTime) -> Result<Option<StoredJob>, Failure> {
    let mut statement = t.prepare_cached(
        "select * from jobs where state = 'queued' and not_before <= ?1 order by sequence limit 1",
    )?;
    let mut rows = statement.query([nanoseconds(now)?])?;
    rows.next()?.map(StoredJob::read).transpose()
}

fn no_document() -> JobError {
    JobError {
        code: "no_document".into(),
        detail: "the job's document is not in the catalogue".into(),
        hint: "run `ragstone fsck`".into(),
    }
}

fn claimed(job: Job, stored: StoredDocument) -> Claim {
    Claim {
        lease: Lease {
            job: job.id,
            attempt: job.attempts,
            document: job.document_id,
            generation: job.generation,
        },
        job,
        document: stored.document,
        name: stored.name,
        given_title: stored.given_title,
        declared_media_type: stored.declared_media_type,
        original: match stored.stored {
            Some(generation) => Original::Stored(generation),
            None => Original::Incoming(stored.incoming),
        },
    }
}

/// The running job of `lease`, if it still holds.
fn leased(t: &Connection, lease: &Lease) -> Result<StoredJob, Failure> {
    let holds = |stored: &StoredJob| {
        stored.job.state == JobState::Running
            && stored.job.attempts == lease.attempt
            && stored.job.generation == lease.generation
            && stored.job.document_id == lease.document
    };
    let stored = StoredJob::load(t, lease.job)?.filter(holds);
    stored.ok_or(Failure::Rule(CatalogueError::Stale))
}

/// The document of a job that holds, of the life that the job is about.
fn document_of(t: &Connection, job: &StoredJob) -> Result<StoredDocument, Failure> {
    let stored = StoredDocument::load(t, job.job.document_id)?;
    let stored = stored.filter(|stored| stored.life == job.life);
    stored.ok_or(Failure::Rule(CatalogueError::Stale))
}

fn end(
    t: &Connection,
    mut stored: StoredJob,
    state: JobState,
    error: Option<JobError>,
    now: OffsetDateTime,
) -> Result<Job, Failure> {
    stored.job.state = state;
    stored.job.stage = Stage::Done;
    stored.job.error = error;
    stored.job.updated_at = now;
    stored.update(t)?;
    Ok(stored.job)
}

/// Queues again what ran when the last process ended.
pub fn take_back(t: &Connection, now: OffsetDateTime) -> Result<u64, Failure> {
    let changed = t.execute(
        "update jobs set state = 'queued', stage = 'queued', done = 0, total = 0, updated_at = ?1
         where state = 'running'",
        [nanoseconds(now)?],
    )?;
    Ok(changed as u64)
}

/// Notes that the accepted bytes are at their final key.
pub fn stored(t: &Connection, lease: &Lease) -> Result<(), Failure> {
    let job = leased(t, lease)?;
    let mut document = document_of(t, &job)?;
    document.stored = Some(lease.generation);
    document.save(t)
}

/// Notes how far a job is.
pub fn progress(
    t: &Connection,
    lease: &Lease,
    progress: Progress,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let mut stored = leased(t, lease)?;
    stored.job.stage = progress.stage;
    stored.job.done = progress.done;
    stored.job.total = progress.total;
    stored.job.updated_at = now;
    stored.update(t)
}

/// Makes the lease's generation the published one.
pub fn publish(
    t: &Connection,
    changes: &mut Vec<Change>,
    lease: &Lease,
    version: PublishedVersion,
    now: OffsetDateTime,
) -> Result<Flipped, Failure> {
    let job = leased(t, lease)?;
    let mut stored = document_of(t, &job)?;
    let document = &mut stored.document;
    if document.status == DocumentStatus::Deleting {
        return Err(CatalogueError::Stale.into());
    }
    let replaced = document.published.replace(lease.generation);
    document.status = DocumentStatus::Published;
    document.media_type = version.media_type;
    document.pages = version.pages;
    document.chunks = version.chunks;
    document.warnings = version.warnings;
    document.last_error = None;
    document.updated_at = now;
    stored.newest = Newest::Published;
    stored.published_title = Some(version.title);
    stored.published_pipeline = Some(version.pipeline);
    stored.save(t)?;
    if let Some(replaced) = replaced {
        changes.extend(statistics::withdraw(t, lease.document, replaced)?);
    }
    let tenant = &stored.document.acl.tenant;
    changes.push(statistics::contribute(t, tenant, lease, version.statistics)?);
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
fn give_up(t: &Connection, job: &StoredJob, error: &JobError, now: OffsetDateTime) -> Result<(), Failure> {
    if job.job.kind != JobKind::Ingest {
        return Ok(());
    }
    let mut stored = document_of(t, job)?;
    stored.newest = Newest::Failed;
    stored.document.last_error = Some(error.clone());
    stored.document.updated_at = now;
    if stored.document.status == DocumentStatus::Pending {
        stored.document.status = DocumentStatus::Failed;
    }
    stored.save(t)
}

/// Queues a job again, for later.
pub fn retry(
    t: &Connection,
    lease: &Lease,
    error: JobError,
    not_before: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let mut stored = leased(t, lease)?;
    stored.not_before = not_before;
    stored.job.state = JobState::Queued;
    stored.job.stage = Stage::Queued;
    (stored.job.done, stored.job.total) = (0, 0);
    stored.job.error = Some(error);
    stored.job.updated_at = now;
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

/// Cancels an ingestion that is not final. A deletion that was acknowledged is not taken back.
pub fn cancel(t: &Connection, scope: &Scope, id: JobId, now: OffsetDateTime) -> Result<Option<Job>, Failure> {
    let Some(stored) = StoredJob::load(t, id)?.filter(|stored| scope.admits(&stored.acl)) else {
        return Ok(None);
    };
    if stored.job.state.is_final() || stored.job.kind == JobKind::Purge {
        return Ok(Some(stored.job));
    }
    let error = JobError {
        code: "cancelled".into(),
        detail: "the ingestion was cancelled".into(),
        hint: "ingest the document again".into(),
    };
    give_up(t, &stored, &error, now)?;
    end(t, stored, JobState::Cancelled, None, now).map(Some)
}

/// A job that `scope` may see.
pub fn job(connection: &Connection, scope: &Scope, id: JobId) -> Result<Option<Job>, Failure> {
    let found = StoredJob::load(connection, id)?.filter(|stored| scope.admits(&stored.acl));
    Ok(found.map(|stored| stored.job))
}

/// One page of the jobs that `scope` may see, newest first.
pub fn jobs(
    connection: &Connection,
    scope: &Scope,
    filter: &JobFilter,
    page: &PageRequest,
) -> Result<Page<Job>, Failure> {
    let before = page.cursor.as_deref().map(Key::read).transpose()?;
    let before = before.unwrap_or(Key {
        at: i64::MAX,
        id: Uuid::max(),
    });
    let mut statement = connection.prepare_cached(
        "select * from jobs
         where tenant = :tenant and (created_at, id) < (:at, :id)
           and (:state is null or state = :state) and (:kind is null or kind = :kind)
         order by created_at desc, id desc",
    )?;
    let mut rows = statement.query(named_params! {
        ":tenant": scope.tenant().as_str(),
        ":at": before.at,
        ":id": before.id,
        ":state": filter.state.as_ref().map(write_word).transpose()?,
        ":kind": filter.kind.as_ref().map(write_word).transpose()?,
    })?;
    let mut items: Vec<Job> = Vec::new();
    let mut next_cursor = None;
    while let Some(row) = rows.next()? {
        if !scope.admits(&acl(row)?) {
            continue;
        }
        if items.len() == page.limit {
            next_cursor = items.last().map(cursor_after).transpose()?;
            break;
        }
        items.push(StoredJob::read(row)?.job);
    }
    Ok(Page { items, next_cursor })
}

fn cursor_after(job: &Job) -> Result<String, Failure> {
    let at = nanoseconds(job.created_at)?;
    Ok(Key { at, id: job.id.0 }.write())
}
