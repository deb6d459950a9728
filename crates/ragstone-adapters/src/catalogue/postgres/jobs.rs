//! The ledger as callers see it: looking, cancelling, driving again.
//!
//! Invariant: of a batch each child is cancelled or driven again in a transaction of its own, so that a large batch holds
//! nobody up. A batch is closed before its children are cancelled, so none joins it meanwhile.

use ragstone_core::access::Scope;
use ragstone_core::document::{DocumentStatus, Job, JobCounts, JobKind, JobState};
use ragstone_core::id::{JobId, TenantId};
use ragstone_core::seam::catalogue::{JobFilter, Page, PageRequest, Redriven};
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::database::{Database, Mode, Session, transact};
use super::error::Failure;
use super::job_row::{self, JOB, shown, stop_batch};
use super::lease::{end, give_up};
use super::queue::queue_again;
use super::row::{Hold, document, number, update_document, word};
use crate::catalogue::cursor::{Key, page_of};
use crate::catalogue::stored::{StoredJob, cancelled};
use crate::catalogue::value::{nanoseconds, write_word};

/// Cancels an ingestion that is not final, or the children of a batch that are not. A deletion that was acknowledged is
/// not taken back.
pub async fn cancel(
    database: &Database,
    scope: &Scope,
    id: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, Failure> {
    let session = database.session().await?;
    let Some(stored) = seen(&session, scope, id).await? else {
        return Ok(None);
    };
    let jobs = match (stored.job.state.is_final(), stored.job.kind) {
        (true, _) => Vec::new(),
        (false, JobKind::Batch) => {
            stop_batch(&session, id, true).await?;
            children(&session, scope, id).await?
        }
        (false, _) => vec![stored],
    };
    drop(session);
    for stored in jobs.into_iter().filter(StoredJob::may_be_cancelled) {
        transact!(database, Mode::Synced, |t| cancel_one(&t, scope, &stored, now))?;
    }
    job(&database.session().await?, scope, id).await
}

async fn cancel_one(t: &Session, scope: &Scope, seen: &StoredJob, now: OffsetDateTime) -> Result<(), Failure> {
    let Some(stored) = held(t, scope, seen).await?.filter(StoredJob::may_be_cancelled) else {
        return Ok(());
    };
    give_up(t, &stored, &cancelled(), now).await?;
    end(t, stored, JobState::Cancelled, None, now).await
}

/// Holds the rows of a job that was seen, and of its document, if it may still be seen.
async fn held(t: &Session, scope: &Scope, seen: &StoredJob) -> Result<Option<StoredJob>, Failure> {
    if let Some(id) = seen.job.document_id {
        document(t, id, Hold::Row).await?;
    }
    let held = job_row::job(t, seen.job.id, Hold::Row).await?;
    Ok(held.filter(|stored| scope.admits(&stored.acl)))
}

/// Queues what failed or was cancelled again.
pub async fn redrive(
    database: &Database,
    scope: &Scope,
    id: JobId,
    now: OffsetDateTime,
) -> Result<Option<Redriven>, Failure> {
    let session = database.session().await?;
    let Some(stored) = seen(&session, scope, id).await? else {
        return Ok(None);
    };
    if !stored.has_missed() {
        return Ok(Some(Redriven::NotEnded(stored.job)));
    }
    let jobs = match stored.job.kind {
        JobKind::Batch => children(&session, scope, id).await?,
        _ => vec![stored.clone()],
    };
    drop(session);
    let mut queued = 0;
    for job in jobs.into_iter().filter(StoredJob::has_missed) {
        queued += u64::from(transact!(database, Mode::Synced, |t| redrive_one(
            &t, scope, &job, now
        ))?);
    }
    if queued == 0 {
        return Ok(Some(Redriven::Superseded(stored.job)));
    }
    let session = database.session().await?;
    stop_batch(&session, id, false).await?;
    Ok(job(&session, scope, id).await?.map(Redriven::Queued))
}

/// Whether the job could be: its document was not begun again or deleted since.
async fn redrive_one(t: &Session, scope: &Scope, seen: &StoredJob, now: OffsetDateTime) -> Result<bool, Failure> {
    let Some(mut stored) = held(t, scope, seen).await?.filter(StoredJob::has_missed) else {
        return Ok(false);
    };
    if stored.job.kind == JobKind::Ingest {
        let found = match stored.job.document_id {
            Some(id) => document(t, id, Hold::Row).await?,
            None => None,
        };
        let living = found
            .filter(|document| document.life == stored.life && document.document.status != DocumentStatus::Deleting);
        let Some(mut document) = living else {
            return Ok(false);
        };
        if !is_newest(t, &stored).await? {
            return Ok(false);
        }
        document.await_again(now);
        update_document(t, &document).await?;
    }
    stored.course.redrive(&mut stored.job, now);
    queue_again(t, stored).await?;
    Ok(true)
}

async fn is_newest(t: &Session, stored: &StoredJob) -> Result<bool, Failure> {
    let newest = format!("select {JOB} from jobs where document = $1 order by sequence desc limit 1");
    let document = stored.job.document_id.map(|id| id.0);
    let newest = job_row::first(t, &newest, &[&document]).await?;
    Ok(newest.is_some_and(|newest| newest.job.id == stored.job.id))
}

async fn children(c: &Session, scope: &Scope, batch: JobId) -> Result<Vec<StoredJob>, Failure> {
    let of_batch = format!("select {JOB} from jobs where parent = $1 order by sequence");
    let rows = c.all(&of_batch, &[&batch.0]).await?;
    let mut children: Vec<_> = rows.iter().map(job_row::read_job).collect::<Result<_, _>>()?;
    children.retain(|child| scope.admits(&child.acl));
    Ok(children)
}

async fn seen(c: &Session, scope: &Scope, id: JobId) -> Result<Option<StoredJob>, Failure> {
    let found = job_row::job(c, id, Hold::No).await?;
    let seen = found.filter(|stored| scope.admits(&stored.acl));
    Ok(shown(c, seen.into_iter().collect()).await?.pop())
}

/// A job that `scope` may see.
pub async fn job(c: &Session, scope: &Scope, id: JobId) -> Result<Option<Job>, Failure> {
    Ok(seen(c, scope, id).await?.map(|stored| stored.job))
}

/// One page of the jobs that `scope` may see, newest first.
pub async fn jobs(c: &Session, scope: &Scope, filter: &JobFilter, page: &PageRequest) -> Result<Page<Job>, Failure> {
    let before = page.cursor.as_deref().map(Key::read).transpose()?;
    let mut before = before.unwrap_or(Key {
        at: i64::MAX,
        id: Uuid::max(),
    });
    let query = list(filter);
    let state = filter.state.as_ref().map(write_word).transpose()?;
    let kind = filter.kind.as_ref().map(write_word).transpose()?;
    let (parent, document) = (filter.parent.map(|id| id.0), filter.document.map(|id| id.0));
    let tenant = scope.tenant().as_str();
    let limit = page.limit as i64 + 1;
    let mut items: Vec<StoredJob> = Vec::new();
    loop {
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &before.at, &before.id, &limit];
        let narrowing: [Option<&(dyn ToSql + Sync)>; 4] = [
            state.as_ref().map(|state| state as _),
            kind.as_ref().map(|kind| kind as _),
            parent.as_ref().map(|parent| parent as _),
            document.as_ref().map(|document| document as _),
        ];
        values.extend(narrowing.into_iter().flatten());
        let rows = c.all(&query, &values).await?;
        for row in &rows {
            let stored = job_row::read_job(row)?;
            before = key(&stored.job)?;
            if scope.admits(&stored.acl) {
                items.push(stored);
            }
        }
        if items.len() > page.limit || (rows.len() as i64) < limit {
            break;
        }
    }
    let found = page_of(items, page.limit, |last| Ok::<_, Failure>(key(&last.job)?.write()))?;
    let items = shown(c, found.items)
        .await?
        .into_iter()
        .map(|stored| stored.job)
        .collect();
    let next_cursor = found.next_cursor;
    Ok(Page { items, next_cursor })
}

/// Only what is asked for stands in the query, so that an index can answer it. A batch is in the state that its children
/// give it.
fn list(filter: &JobFilter) -> String {
    let asked = [
        (filter.kind.is_some(), "kind"),
        (filter.parent.is_some(), "parent"),
        (filter.document.is_some(), "document"),
    ];
    // The state, if asked for, is the fifth value.
    let first = 5 + usize::from(filter.state.is_some());
    let columns = asked.into_iter().filter(|(is_asked, _)| *is_asked);
    let narrow = |(number, (_, column))| format!(" and {column} = ${number}");
    let narrow: String = (first..).zip(columns).map(narrow).collect();
    let page = "order by created_at desc, id desc limit $4";
    let from = format!("select {JOB} from jobs where tenant = $1 and (created_at, id) < ($2, $3){narrow}");
    if filter.state.is_none() {
        return format!("{from} {page}");
    }
    let batch = "(select s.state from batch_standing s where s.id = jobs.id)";
    format!(
        "({from} and kind <> 'batch' and state = $5 {page})
         union all ({from} and kind = 'batch' and {batch} = $5 {page}) {page}"
    )
}

fn key(job: &Job) -> Result<Key, Failure> {
    let at = nanoseconds(job.created_at)?;
    Ok(Key { at, id: job.id.0 })
}

/// How many jobs of a tenant are in each state.
pub async fn counts(c: &Session, tenant: &TenantId) -> Result<JobCounts, Failure> {
    let rows = c
        .all(
            "select state, sum(jobs)::bigint as jobs from (
               select state, jobs from job_totals where tenant = $1
               union all select state, jobs from job_changes where tenant = $1) as counted group by state",
            &[&tenant.as_str()],
        )
        .await?;
    let mut counts = JobCounts::default();
    for row in rows {
        *counts.of(word(&row, "state")?) = number(&row, "jobs")?;
    }
    Ok(counts)
}

/// Puts changes of counts into the totals, unless somebody else does.
pub async fn fold(t: &Session) -> Result<(), Failure> {
    if t.first("select 1 from upkeep for update skip locked", &[])
        .await?
        .is_none()
    {
        return Ok(());
    }
    t.run(
        "with folded as (delete from job_changes returning *),
         by_state as (
           insert into job_totals (tenant, state, jobs) select tenant, state, sum(jobs)::bigint from folded group by 1, 2
           on conflict (tenant, state) do update set jobs = job_totals.jobs + excluded.jobs)
         update batches b set queued = b.queued + f.queued, running = b.running + f.running,
           succeeded = b.succeeded + f.succeeded, failed = b.failed + f.failed, cancelled = b.cancelled + f.cancelled,
           changed_at = greatest(b.changed_at, f.changed_at)
         from (
           select parent, coalesce(sum(jobs) filter (where state = 'queued'), 0)::bigint as queued,
             coalesce(sum(jobs) filter (where state = 'running'), 0)::bigint as running,
             coalesce(sum(jobs) filter (where state = 'succeeded'), 0)::bigint as succeeded,
             coalesce(sum(jobs) filter (where state = 'failed'), 0)::bigint as failed,
             coalesce(sum(jobs) filter (where state = 'cancelled'), 0)::bigint as cancelled,
             max(at) as changed_at
           from folded where parent is not null group by parent) f
         where b.id = f.parent",
        &[],
    )
    .await
    .map(drop)
}
