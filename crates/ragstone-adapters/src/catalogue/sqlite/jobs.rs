//! Jobs as callers see them: reading, cancelling, requeueing.

use ragstone_core::access::Scope;
use ragstone_core::document::{DocumentStatus, Job, JobCounts, JobKind, JobState};
use ragstone_core::id::{JobId, TenantId};
use ragstone_core::seam::catalogue::{JobFilter, ListPage, PageRequest, RequeueOutcome};
use rusqlite::{Connection, ToSql};
use time::OffsetDateTime;
use uuid::Uuid;

use super::SqliteTransactionError;
use super::job_row::{BatchState, StoredJob};
use super::lease::{end_job, fail_document};
use super::queue::last_sequence;
use super::row::{StoredDocument, get_acl, get_enum};
use crate::catalogue::cursor::CursorKey;
use crate::catalogue::stored::cancelled_error;
use crate::catalogue::value::{to_nanoseconds, write_enum};

/// Cancels an ingestion that has not ended, or such children of a batch. An acknowledged deletion cannot be cancelled.
pub fn cancel_job(
    t: &Connection,
    scope: &Scope,
    id: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, SqliteTransactionError> {
    let Some(stored) = find_visible_job(t, scope, id)? else {
        return Ok(None);
    };
    if !stored.job.state.is_final() {
        match stored.job.kind {
            JobKind::Purge => {}
            JobKind::Ingest => cancel_one(t, stored, now)?,
            JobKind::Batch => {
                for child in load_children(t, scope, id)? {
                    if child.is_cancellable() {
                        cancel_one(t, child, now)?;
                    }
                }
                BatchState::set_stopped(t, id, true)?;
            }
        }
    }
    get_job(t, scope, id)
}

fn cancel_one(t: &Connection, stored: StoredJob, now: OffsetDateTime) -> Result<(), SqliteTransactionError> {
    fail_document(t, &stored, &cancelled_error(), now)?;
    end_job(t, stored, JobState::Cancelled, None, now)?;
    Ok(())
}

/// Requeues a job, or a batch's children, that failed or was cancelled.
pub fn requeue_job(
    t: &Connection,
    scope: &Scope,
    id: JobId,
    now: OffsetDateTime,
) -> Result<Option<RequeueOutcome>, SqliteTransactionError> {
    let Some(stored) = find_visible_job(t, scope, id)? else {
        return Ok(None);
    };
    if !stored.is_unsuccessful() {
        return Ok(Some(RequeueOutcome::NotEnded(stored.into_public_job(t)?)));
    }
    let jobs = match stored.job.kind {
        JobKind::Batch => load_children(t, scope, id)?,
        _ => vec![stored.clone()],
    };
    let mut queued = 0;
    for job in jobs.into_iter().filter(StoredJob::is_unsuccessful) {
        queued += u64::from(requeue_failed_job(t, job, now)?);
    }
    if queued == 0 {
        return Ok(Some(RequeueOutcome::Superseded(stored.into_public_job(t)?)));
    }
    BatchState::set_stopped(t, id, false)?;
    Ok(get_job(t, scope, id)?.map(RequeueOutcome::Queued))
}

/// Requeues a job; returns false if its document was begun again or deleted since.
fn requeue_failed_job(
    t: &Connection,
    mut stored: StoredJob,
    now: OffsetDateTime,
) -> Result<bool, SqliteTransactionError> {
    if stored.job.kind == JobKind::Ingest {
        let document = stored.job.document_id.map(|id| StoredDocument::load_document(t, id));
        let Some(mut document) = document.transpose()?.flatten() else {
            return Ok(false);
        };
        let is_deleting = document.document.status == DocumentStatus::Deleting;
        if document.incarnation != stored.incarnation || is_deleting || !is_newest(t, &stored)? {
            return Ok(false);
        }
        document.reset_to_pending(now);
        document.save_document(t)?;
    }
    stored.attempt_state.requeue_job(&mut stored.job, now);
    stored.queue_sequence = last_sequence(t, stored.acl.tenant.as_str(), &stored.source)?;
    stored.update_job(t)?;
    Ok(true)
}

fn is_newest(t: &Connection, stored: &StoredJob) -> Result<bool, SqliteTransactionError> {
    let newest = "select * from jobs where document = ?1 order by sequence desc limit 1";
    let document = stored.job.document_id.map(|id| id.0);
    let newest = StoredJob::find_first(t, newest, [document])?;
    Ok(newest.is_some_and(|newest| newest.job.id == stored.job.id))
}

fn load_children(
    connection: &Connection,
    scope: &Scope,
    batch: JobId,
) -> Result<Vec<StoredJob>, SqliteTransactionError> {
    let of_batch = "select * from jobs where parent = ?1";
    let mut children = StoredJob::find_all(connection, of_batch, [batch.0])?;
    children.retain(|child| scope.admits(&child.acl));
    Ok(children)
}

fn find_visible_job(
    connection: &Connection,
    scope: &Scope,
    id: JobId,
) -> Result<Option<StoredJob>, SqliteTransactionError> {
    Ok(StoredJob::load_job(connection, id)?.filter(|stored| scope.admits(&stored.acl)))
}

/// Returns a job that `scope` admits.
pub fn get_job(connection: &Connection, scope: &Scope, id: JobId) -> Result<Option<Job>, SqliteTransactionError> {
    let found = find_visible_job(connection, scope, id)?;
    found.map(|stored| stored.into_public_job(connection)).transpose()
}

/// One page of the jobs that `scope` admits, newest first.
pub fn list_jobs(
    connection: &Connection,
    scope: &Scope,
    filter: &JobFilter,
    page: &PageRequest,
) -> Result<ListPage<Job>, SqliteTransactionError> {
    let before = page.cursor.as_deref().map(CursorKey::parse_cursor).transpose()?;
    let before = before.unwrap_or(CursorKey {
        at: i64::MAX,
        id: Uuid::max(),
    });
    let tenant = scope.tenant().as_str();
    let mut query = String::from("select * from jobs where tenant = ? and (created_at, id) < (?, ?)");
    let mut parameters: Vec<Box<dyn ToSql>> =
        vec![Box::new(tenant.to_owned()), Box::new(before.at), Box::new(before.id)];
    // The query contains only the conditions in use, so that an index can answer it.
    let mut narrow = |column: &str, value: Option<Box<dyn ToSql>>| {
        if let Some(value) = value {
            query.push_str(&format!(" and {column} = ?"));
            parameters.push(value);
        }
    };
    let boxed = |word: String| Box::new(word) as Box<dyn ToSql>;
    narrow("state", filter.state.as_ref().map(write_enum).transpose()?.map(boxed));
    narrow("kind", filter.kind.as_ref().map(write_enum).transpose()?.map(boxed));
    narrow("parent", filter.parent.map(|parent| Box::new(parent.0) as _));
    narrow("document", filter.document.map(|document| Box::new(document.0) as _));
    query.push_str(" order by created_at desc, id desc");
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
    let mut items: Vec<Job> = Vec::new();
    let mut next_cursor = None;
    while let Some(row) = rows.next()? {
        if !scope.admits(&get_acl(row)?) {
            continue;
        }
        if items.len() == page.limit {
            next_cursor = items.last().map(job_cursor).transpose()?;
            break;
        }
        items.push(StoredJob::from_row(row)?.into_public_job(connection)?);
    }
    Ok(ListPage { items, next_cursor })
}

fn job_cursor(job: &Job) -> Result<String, SqliteTransactionError> {
    let at = to_nanoseconds(job.created_at)?;
    Ok(CursorKey { at, id: job.id.0 }.encode_cursor())
}

/// Number of a tenant's jobs in each state, maintained by triggers.
pub fn count_jobs(connection: &Connection, tenant: &TenantId) -> Result<JobCounts, SqliteTransactionError> {
    let mut statement = connection.prepare_cached("select state, jobs from job_counts where tenant = ?1")?;
    let mut rows = statement.query([tenant.as_str()])?;
    let mut counts = JobCounts::default();
    while let Some(row) = rows.next()? {
        *counts.count_mut(get_enum(row, "state")?) = row.get("jobs")?;
    }
    Ok(counts)
}
