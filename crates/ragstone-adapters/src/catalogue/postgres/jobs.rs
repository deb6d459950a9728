//! Jobs as callers see them: reading, cancelling, requeueing.
//!
//! Invariant: each child of a batch is cancelled or requeued in a transaction of its own, so that a large batch blocks
//! nothing. A batch is closed before its children are cancelled, so that none joins it meanwhile.

use ragstone_core::access::Scope;
use ragstone_core::document::{DocumentStatus, Job, JobCounts, JobKind, JobState};
use ragstone_core::id::{JobId, TenantId};
use ragstone_core::seam::catalogue::{JobFilter, ListPage, PageRequest, RequeueOutcome};
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::database::{PostgresDatabase, PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::job_row::{self, JOB, set_batch_stopped, with_batch_states};
use super::lease::{end_job, fail_document};
use super::queue::append_to_queue;
use super::row::{RowLock, get_enum, get_number, load_document, update_document};
use crate::catalogue::cursor::{CursorKey, build_page};
use crate::catalogue::stored::{StoredJob, cancelled_error};
use crate::catalogue::value::{to_nanoseconds, write_enum};

/// Cancels an ingestion that has not ended, or such children of a batch. An acknowledged deletion cannot be cancelled.
pub async fn cancel_job(
    database: &PostgresDatabase,
    scope: &Scope,
    id: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, PostgresTransactionError> {
    let session = database.open_session().await?;
    let Some(stored) = find_visible_job(&session, scope, id).await? else {
        return Ok(None);
    };
    let jobs = match (stored.job.state.is_final(), stored.job.kind) {
        (true, _) => Vec::new(),
        (false, JobKind::Batch) => {
            set_batch_stopped(&session, id, true).await?;
            load_children(&session, scope, id).await?
        }
        (false, _) => vec![stored],
    };
    drop(session);
    for stored in jobs.into_iter().filter(StoredJob::is_cancellable) {
        transact!(database, TransactionMode::Synced, |t| cancel_one(
            &t, scope, &stored, now
        ))?;
    }
    get_job(&database.open_session().await?, scope, id).await
}

async fn cancel_one(
    t: &PostgresSession,
    scope: &Scope,
    seen: &StoredJob,
    now: OffsetDateTime,
) -> Result<(), PostgresTransactionError> {
    let Some(stored) = lock_visible_job(t, scope, seen)
        .await?
        .filter(StoredJob::is_cancellable)
    else {
        return Ok(());
    };
    fail_document(t, &stored, &cancelled_error(), now).await?;
    end_job(t, stored, JobState::Cancelled, None, now).await
}

/// Locks the rows of a visible job and of its document, if the caller may still see it.
async fn lock_visible_job(
    t: &PostgresSession,
    scope: &Scope,
    seen: &StoredJob,
) -> Result<Option<StoredJob>, PostgresTransactionError> {
    if let Some(id) = seen.job.document_id {
        load_document(t, id, RowLock::ForUpdate).await?;
    }
    let held = job_row::load_job(t, seen.job.id, RowLock::ForUpdate).await?;
    Ok(held.filter(|stored| scope.admits(&stored.acl)))
}

/// Requeues a job, or a batch's children, that failed or was cancelled.
pub async fn requeue_job(
    database: &PostgresDatabase,
    scope: &Scope,
    id: JobId,
    now: OffsetDateTime,
) -> Result<Option<RequeueOutcome>, PostgresTransactionError> {
    let session = database.open_session().await?;
    let Some(stored) = find_visible_job(&session, scope, id).await? else {
        return Ok(None);
    };
    if !stored.is_unsuccessful() {
        return Ok(Some(RequeueOutcome::NotEnded(stored.job)));
    }
    let jobs = match stored.job.kind {
        JobKind::Batch => load_children(&session, scope, id).await?,
        _ => vec![stored.clone()],
    };
    drop(session);
    let mut queued = 0;
    for job in jobs.into_iter().filter(StoredJob::is_unsuccessful) {
        queued += u64::from(transact!(database, TransactionMode::Synced, |t| {
            requeue_failed_job(&t, scope, &job, now)
        })?);
    }
    if queued == 0 {
        return Ok(Some(RequeueOutcome::Superseded(stored.job)));
    }
    let session = database.open_session().await?;
    set_batch_stopped(&session, id, false).await?;
    Ok(get_job(&session, scope, id).await?.map(RequeueOutcome::Queued))
}

/// Requeues a job; returns false if its document was begun again or deleted since.
async fn requeue_failed_job(
    t: &PostgresSession,
    scope: &Scope,
    seen: &StoredJob,
    now: OffsetDateTime,
) -> Result<bool, PostgresTransactionError> {
    let Some(mut stored) = lock_visible_job(t, scope, seen)
        .await?
        .filter(StoredJob::is_unsuccessful)
    else {
        return Ok(false);
    };
    if stored.job.kind == JobKind::Ingest {
        let found = match stored.job.document_id {
            Some(id) => load_document(t, id, RowLock::ForUpdate).await?,
            None => None,
        };
        let living = found.filter(|document| {
            document.incarnation == stored.incarnation && document.document.status != DocumentStatus::Deleting
        });
        let Some(mut document) = living else {
            return Ok(false);
        };
        if !is_newest(t, &stored).await? {
            return Ok(false);
        }
        document.reset_to_pending(now);
        update_document(t, &document).await?;
    }
    stored.attempt_state.requeue_job(&mut stored.job, now);
    append_to_queue(t, stored).await?;
    Ok(true)
}

async fn is_newest(t: &PostgresSession, stored: &StoredJob) -> Result<bool, PostgresTransactionError> {
    let newest = format!("select {JOB} from jobs where document = $1 order by sequence desc limit 1");
    let document = stored.job.document_id.map(|id| id.0);
    let newest = job_row::find_first_job(t, &newest, &[&document]).await?;
    Ok(newest.is_some_and(|newest| newest.job.id == stored.job.id))
}

async fn load_children(
    c: &PostgresSession,
    scope: &Scope,
    batch: JobId,
) -> Result<Vec<StoredJob>, PostgresTransactionError> {
    let of_batch = format!("select {JOB} from jobs where parent = $1 order by sequence");
    let rows = c.query_all(&of_batch, &[&batch.0]).await?;
    let mut children: Vec<_> = rows.iter().map(job_row::read_job).collect::<Result<_, _>>()?;
    children.retain(|child| scope.admits(&child.acl));
    Ok(children)
}

async fn find_visible_job(
    c: &PostgresSession,
    scope: &Scope,
    id: JobId,
) -> Result<Option<StoredJob>, PostgresTransactionError> {
    let found = job_row::load_job(c, id, RowLock::Unlocked).await?;
    let seen = found.filter(|stored| scope.admits(&stored.acl));
    Ok(with_batch_states(c, seen.into_iter().collect()).await?.pop())
}

/// Returns a job that `scope` admits.
pub async fn get_job(c: &PostgresSession, scope: &Scope, id: JobId) -> Result<Option<Job>, PostgresTransactionError> {
    Ok(find_visible_job(c, scope, id).await?.map(|stored| stored.job))
}

/// One page of the jobs that `scope` admits, newest first.
pub async fn list_jobs(
    c: &PostgresSession,
    scope: &Scope,
    filter: &JobFilter,
    page: &PageRequest,
) -> Result<ListPage<Job>, PostgresTransactionError> {
    let before = page.cursor.as_deref().map(CursorKey::parse_cursor).transpose()?;
    let mut before = before.unwrap_or(CursorKey {
        at: i64::MAX,
        id: Uuid::max(),
    });
    let query = build_list_query(filter);
    let state = filter.state.as_ref().map(write_enum).transpose()?;
    let kind = filter.kind.as_ref().map(write_enum).transpose()?;
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
        let rows = c.query_all(&query, &values).await?;
        for row in &rows {
            let stored = job_row::read_job(row)?;
            before = job_key(&stored.job)?;
            if scope.admits(&stored.acl) {
                items.push(stored);
            }
        }
        if items.len() > page.limit || (rows.len() as i64) < limit {
            break;
        }
    }
    let found = build_page(items, page.limit, |last| {
        Ok::<_, PostgresTransactionError>(job_key(&last.job)?.encode_cursor())
    })?;
    let items = with_batch_states(c, found.items)
        .await?
        .into_iter()
        .map(|stored| stored.job)
        .collect();
    let next_cursor = found.next_cursor;
    Ok(ListPage { items, next_cursor })
}

/// The query contains only the conditions in use, so that an index can answer it. The state of a batch is computed
/// from its children.
fn build_list_query(filter: &JobFilter) -> String {
    let asked = [
        (filter.kind.is_some(), "kind"),
        (filter.parent.is_some(), "parent"),
        (filter.document.is_some(), "document"),
    ];
    // The state, if it is a condition, is the fifth parameter.
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

fn job_key(job: &Job) -> Result<CursorKey, PostgresTransactionError> {
    let at = to_nanoseconds(job.created_at)?;
    Ok(CursorKey { at, id: job.id.0 })
}

/// Number of a tenant's jobs in each state.
pub async fn count_jobs(c: &PostgresSession, tenant: &TenantId) -> Result<JobCounts, PostgresTransactionError> {
    let rows = c
        .query_all(
            "select state, sum(jobs)::bigint as jobs from (
               select state, jobs from job_totals where tenant = $1
               union all select state, jobs from job_changes where tenant = $1) as counted group by state",
            &[&tenant.as_str()],
        )
        .await?;
    let mut counts = JobCounts::default();
    for row in rows {
        *counts.count_mut(get_enum(&row, "state")?) = get_number(&row, "jobs")?;
    }
    Ok(counts)
}

/// Folds changes of counts into the totals, unless another process is doing so.
pub async fn fold_job_counts(t: &PostgresSession) -> Result<(), PostgresTransactionError> {
    if t.query_first("select 1 from upkeep for update skip locked", &[])
        .await?
        .is_none()
    {
        return Ok(());
    }
    t.execute_statement(
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
