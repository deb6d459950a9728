//! The ledger as callers see it: looking, cancelling, driving again.

use ragstone_core::access::Scope;
use ragstone_core::document::{DocumentStatus, Job, JobCounts, JobKind, JobState};
use ragstone_core::id::{JobId, TenantId};
use ragstone_core::seam::catalogue::{JobFilter, Page, PageRequest, Redriven};
use rusqlite::{Connection, ToSql};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Failure;
use super::job_row::{Batch, StoredJob};
use super::lease::{end, give_up};
use super::queue::last_place;
use super::row::{StoredDocument, acl, word};
use crate::catalogue::cursor::Key;
use crate::catalogue::stored::cancelled;
use crate::catalogue::value::{nanoseconds, write_word};

/// Cancels an ingestion that is not final, or the children of a batch that are not. A deletion that was acknowledged is
/// not taken back.
pub fn cancel(t: &Connection, scope: &Scope, id: JobId, now: OffsetDateTime) -> Result<Option<Job>, Failure> {
    let Some(stored) = seen(t, scope, id)? else {
        return Ok(None);
    };
    if !stored.job.state.is_final() {
        match stored.job.kind {
            JobKind::Purge => {}
            JobKind::Ingest => cancel_one(t, stored, now)?,
            JobKind::Batch => {
                for child in children(t, scope, id)? {
                    if child.may_be_cancelled() {
                        cancel_one(t, child, now)?;
                    }
                }
                Batch::stop(t, id, true)?;
            }
        }
    }
    job(t, scope, id)
}

fn cancel_one(t: &Connection, stored: StoredJob, now: OffsetDateTime) -> Result<(), Failure> {
    give_up(t, &stored, &cancelled(), now)?;
    end(t, stored, JobState::Cancelled, None, now)?;
    Ok(())
}

/// Queues what failed or was cancelled again.
pub fn redrive(t: &Connection, scope: &Scope, id: JobId, now: OffsetDateTime) -> Result<Option<Redriven>, Failure> {
    let Some(stored) = seen(t, scope, id)? else {
        return Ok(None);
    };
    if !stored.has_missed() {
        return Ok(Some(Redriven::NotEnded(stored.shown(t)?)));
    }
    let jobs = match stored.job.kind {
        JobKind::Batch => children(t, scope, id)?,
        _ => vec![stored.clone()],
    };
    let mut queued = 0;
    for job in jobs.into_iter().filter(StoredJob::has_missed) {
        queued += u64::from(redrive_one(t, job, now)?);
    }
    if queued == 0 {
        return Ok(Some(Redriven::Superseded(stored.shown(t)?)));
    }
    Batch::stop(t, id, false)?;
    Ok(job(t, scope, id)?.map(Redriven::Queued))
}

/// Whether the job could be: its document was not begun again or deleted since.
fn redrive_one(t: &Connection, mut stored: StoredJob, now: OffsetDateTime) -> Result<bool, Failure> {
    if stored.job.kind == JobKind::Ingest {
        let document = stored.job.document_id.map(|id| StoredDocument::load(t, id));
        let Some(mut document) = document.transpose()?.flatten() else {
            return Ok(false);
        };
        let is_deleting = document.document.status == DocumentStatus::Deleting;
        if document.life != stored.life || is_deleting || !is_newest(t, &stored)? {
            return Ok(false);
        }
        document.await_again(now);
        document.save(t)?;
    }
    stored.course.redrive(&mut stored.job, now);
    stored.place = last_place(t, stored.acl.tenant.as_str(), &stored.source)?;
    stored.update(t)?;
    Ok(true)
}

fn is_newest(t: &Connection, stored: &StoredJob) -> Result<bool, Failure> {
    let newest = "select * from jobs where document = ?1 order by sequence desc limit 1";
    let document = stored.job.document_id.map(|id| id.0);
    let newest = StoredJob::first(t, newest, [document])?;
    Ok(newest.is_some_and(|newest| newest.job.id == stored.job.id))
}

fn children(connection: &Connection, scope: &Scope, batch: JobId) -> Result<Vec<StoredJob>, Failure> {
    let of_batch = "select * from jobs where parent = ?1";
    let mut children = StoredJob::all(connection, of_batch, [batch.0])?;
    children.retain(|child| scope.admits(&child.acl));
    Ok(children)
}

fn seen(connection: &Connection, scope: &Scope, id: JobId) -> Result<Option<StoredJob>, Failure> {
    Ok(StoredJob::load(connection, id)?.filter(|stored| scope.admits(&stored.acl)))
}

/// A job that `scope` may see.
pub fn job(connection: &Connection, scope: &Scope, id: JobId) -> Result<Option<Job>, Failure> {
    let found = seen(connection, scope, id)?;
    found.map(|stored| stored.shown(connection)).transpose()
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
    let tenant = scope.tenant().as_str();
    let mut query = String::from("select * from jobs where tenant = ? and (created_at, id) < (?, ?)");
    let mut parameters: Vec<Box<dyn ToSql>> =
        vec![Box::new(tenant.to_owned()), Box::new(before.at), Box::new(before.id)];
    // Only what is asked for stands in the query, so that an index can answer it.
    let mut narrow = |column: &str, value: Option<Box<dyn ToSql>>| {
        if let Some(value) = value {
            query.push_str(&format!(" and {column} = ?"));
            parameters.push(value);
        }
    };
    let boxed = |word: String| Box::new(word) as Box<dyn ToSql>;
    narrow("state", filter.state.as_ref().map(write_word).transpose()?.map(boxed));
    narrow("kind", filter.kind.as_ref().map(write_word).transpose()?.map(boxed));
    narrow("parent", filter.parent.map(|parent| Box::new(parent.0) as _));
    narrow("document", filter.document.map(|document| Box::new(document.0) as _));
    query.push_str(" order by created_at desc, id desc");
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
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
        items.push(StoredJob::read(row)?.shown(connection)?);
    }
    Ok(Page { items, next_cursor })
}

fn cursor_after(job: &Job) -> Result<String, Failure> {
    let at = nanoseconds(job.created_at)?;
    Ok(Key { at, id: job.id.0 }.write())
}

/// How many jobs of a tenant are in each state, kept by triggers.
pub fn counts(connection: &Connection, tenant: &TenantId) -> Result<JobCounts, Failure> {
    let mut statement = connection.prepare_cached("select state, jobs from job_counts where tenant = ?1")?;
    let mut rows = statement.query([tenant.as_str()])?;
    let mut counts = JobCounts::default();
    while let Some(row) = rows.next()? {
        *counts.of(word(row, "state")?) = row.get("jobs")?;
    }
    Ok(counts)
}
