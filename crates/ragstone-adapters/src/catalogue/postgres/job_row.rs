//! Rows of jobs, and of batches.

use std::collections::HashMap;

use ragstone_core::document::{Job, JobCounts, JobKind, WorkerId};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::catalogue::{AttemptState, aggregate_batch};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::database::{PostgresSession, StatementValues};
use super::error::PostgresTransactionError;
use super::row::{
    RowLock, get_acl, get_enum, get_instant, get_number, get_uuid, get_value, optional_enum, optional_instant,
    optional_json, optional_number, to_bigint,
};
use crate::catalogue::stored::{BatchState, StoredJob, zip_options};
use crate::catalogue::value::{read_instant, read_steady, steady_nanoseconds, to_nanoseconds, write_enum, write_json};

/// Every column of a job that is read. They are named, because a column that a later release adds would change the
/// result type of prepared statements.
pub const JOB: &str = "id, kind, document, parent, life, tenant, source, acl, generation, state, stage, done, total, rate,
    attempts, error, created_at, updated_at, place, due, wait, wait_until, process, worker, lease_until, claims, failures,
    deaths, died_stage, died_at, reached, noted_at, timed_since, timed_from, suspect";

const INSERT: &str =
    "insert into jobs (id, kind, document, parent, life, tenant, source, acl, generation, state, stage,
    done, total, rate, attempts, error, created_at, updated_at, place, due, wait, wait_until, process, worker,
    lease_until, claims, failures, deaths, died_stage, died_at, reached, noted_at, timed_since, timed_from, holder,
    suspect)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
    $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36)";

const UPDATE: &str = "update jobs set kind = $2, document = $3, parent = $4, life = $5, tenant = $6, source = $7,
    acl = $8, generation = $9, state = $10, stage = $11, done = $12, total = $13, rate = $14, attempts = $15,
    error = $16, created_at = $17, updated_at = $18, place = $19, due = $20, wait = $21, wait_until = $22, process = $23,
    worker = $24, lease_until = $25, claims = $26, failures = $27, deaths = $28, died_stage = $29, died_at = $30,
    reached = $31, noted_at = $32, timed_since = $33, timed_from = $34, holder = $35, suspect = $36 where id = $1";

/// Loads the row of `id`.
pub async fn load_job(
    c: &PostgresSession,
    id: JobId,
    hold: RowLock,
) -> Result<Option<StoredJob>, PostgresTransactionError> {
    let query = match hold {
        RowLock::Unlocked => format!("select {JOB} from jobs where id = $1"),
        RowLock::ForUpdate => format!("select {JOB} from jobs where id = $1 for update"),
    };
    find_first_job(c, &query, &[&id.0]).await
}

/// Returns the first job that `query` finds.
pub async fn find_first_job(
    c: &PostgresSession,
    query: &str,
    values: StatementValues<'_>,
) -> Result<Option<StoredJob>, PostgresTransactionError> {
    c.query_first(query, values).await?.as_ref().map(read_job).transpose()
}

/// Inserts a job that has no row yet.
pub async fn insert_job(t: &PostgresSession, stored: &StoredJob) -> Result<(), PostgresTransactionError> {
    write_row(t, stored, None, INSERT).await
}

/// Updates a job whose row is locked and which no worker holds.
pub async fn update_job(t: &PostgresSession, stored: &StoredJob) -> Result<(), PostgresTransactionError> {
    write_row(t, stored, None, UPDATE).await
}

/// Updates a job whose row is locked and which a worker of process `holder` holds.
pub async fn update_held_job(
    t: &PostgresSession,
    stored: &StoredJob,
    holder: Uuid,
) -> Result<(), PostgresTransactionError> {
    write_row(t, stored, Some(holder), UPDATE).await
}

async fn write_row(
    t: &PostgresSession,
    stored: &StoredJob,
    holder: Option<Uuid>,
    statement: &str,
) -> Result<(), PostgresTransactionError> {
    let (job, course) = (&stored.job, &stored.attempt_state);
    let due = match job.kind {
        JobKind::Batch => -1,
        _ => steady_nanoseconds(course.due)?,
    };
    t.execute_statement(
        statement,
        &[
            &job.id.0,
            &write_enum(&job.kind)?,
            &job.document_id.map(|id| id.0),
            &job.parent.map(|id| id.0),
            &to_bigint(stored.incarnation)?,
            &stored.acl.tenant.as_str(),
            &stored.source,
            &write_json(&stored.acl)?,
            &to_bigint(job.generation.0)?,
            &write_enum(&job.state)?,
            &write_enum(&job.stage)?,
            &to_bigint(job.done)?,
            &to_bigint(job.total)?,
            &job.rate,
            &i64::from(job.attempts),
            &job.error.as_ref().map(write_json).transpose()?,
            &to_nanoseconds(job.created_at)?,
            &to_nanoseconds(job.updated_at)?,
            &to_bigint(stored.queue_sequence)?,
            &due,
            &course.wait.map(|(wait, _)| steady_nanoseconds(wait)).transpose()?,
            &course.wait.map(|(_, until)| to_nanoseconds(until)).transpose()?,
            &job.worker.map(|worker| i64::from(worker.process)),
            &job.worker.map(|worker| i64::from(worker.number)),
            &course.lease_until.map(steady_nanoseconds).transpose()?,
            &i64::from(course.claims),
            &i64::from(course.failures),
            &i64::from(course.deaths),
            &course.died.map(|(stage, _)| write_enum(&stage)).transpose()?,
            &course.died.map(|(_, reached)| to_bigint(reached)).transpose()?,
            &to_bigint(course.reached)?,
            &steady_nanoseconds(course.noted_at)?,
            &course.timed.map(|(since, _)| steady_nanoseconds(since)).transpose()?,
            &course.timed.map(|(_, from)| to_bigint(from)).transpose()?,
            &holder,
            &course.suspect,
        ],
    )
    .await
    .map(drop)
}

/// Reads a row with the columns of [`JOB`].
pub fn read_job(row: &Row) -> Result<StoredJob, PostgresTransactionError> {
    Ok(StoredJob {
        job: read_public_job(row)?,
        attempt_state: read_attempt_state(row)?,
        incarnation: get_number(row, "life")?,
        source: get_value(row, "source")?,
        acl: get_acl(row)?,
        queue_sequence: get_number(row, "place")?,
    })
}

fn read_public_job(row: &Row) -> Result<Job, PostgresTransactionError> {
    let worker = zip_options(optional_number(row, "process")?, optional_number(row, "worker")?);
    Ok(Job {
        id: JobId(get_uuid(row, "id")?),
        kind: get_enum(row, "kind")?,
        document_id: get_value::<Option<_>>(row, "document")?.map(DocumentId),
        parent: get_value::<Option<_>>(row, "parent")?.map(JobId),
        children: None,
        generation: Generation(get_number(row, "generation")?),
        state: get_enum(row, "state")?,
        stage: get_enum(row, "stage")?,
        done: get_number(row, "done")?,
        total: get_number(row, "total")?,
        rate: get_value(row, "rate")?,
        attempts: get_number(row, "attempts")?,
        worker: worker.map(|(process, number)| WorkerId { process, number }),
        error: optional_json(row, "error")?,
        created_at: get_instant(row, "created_at")?,
        updated_at: get_instant(row, "updated_at")?,
    })
}

fn read_attempt_state(row: &Row) -> Result<AttemptState, PostgresTransactionError> {
    let since =
        |column: &str| Ok::<_, PostgresTransactionError>(get_value::<Option<i64>>(row, column)?.map(read_steady));
    Ok(AttemptState {
        claims: get_number(row, "claims")?,
        failures: get_number(row, "failures")?,
        deaths: get_number(row, "deaths")?,
        died: zip_options(optional_enum(row, "died_stage")?, optional_number(row, "died_at")?),
        suspect: get_value(row, "suspect")?,
        reached: get_number(row, "reached")?,
        noted_at: since("noted_at")?.unwrap_or_default(),
        timed: zip_options(since("timed_since")?, optional_number(row, "timed_from")?),
        lease_until: since("lease_until")?,
        due: since("due")?.unwrap_or_default(),
        wait: zip_options(since("wait")?, optional_instant(row, "wait_until")?),
    })
}

/// Inserts a batch without children.
pub async fn insert_batch(t: &PostgresSession, id: JobId) -> Result<(), PostgresTransactionError> {
    t.execute_statement("insert into batches (id) values ($1)", &[&id.0])
        .await
        .map(drop)
}

/// Sets whether a batch is cancelled.
pub async fn set_batch_stopped(t: &PostgresSession, id: JobId, stopped: bool) -> Result<(), PostgresTransactionError> {
    t.execute_statement("update batches set stopped = $2 where id = $1", &[&id.0, &stopped])
        .await
        .map(drop)
}

/// Whether a batch accepts children; locks it, so that this stays true until the transaction ends.
pub async fn is_open_batch(t: &PostgresSession, id: JobId) -> Result<bool, PostgresTransactionError> {
    let row = t
        .query_first("select stopped from batches where id = $1 for share", &[&id.0])
        .await?;
    let stopped = row.map(|row| get_value::<bool>(&row, "stopped")).transpose()?;
    Ok(stopped == Some(false))
}

/// Converts jobs to those that callers see: the state of a batch is computed from its children.
pub async fn with_batch_states(
    c: &PostgresSession,
    mut jobs: Vec<StoredJob>,
) -> Result<Vec<StoredJob>, PostgresTransactionError> {
    let is_batch = |stored: &StoredJob| stored.job.kind == JobKind::Batch;
    let batches: Vec<_> = jobs
        .iter()
        .filter(|stored| is_batch(stored))
        .map(|b| b.job.id.0)
        .collect();
    if batches.is_empty() {
        return Ok(jobs);
    }
    let mut standing = load_batch_summaries(c, &batches).await?;
    for stored in jobs.iter_mut().filter(|stored| is_batch(stored)) {
        let (batch, changed_at) = standing.remove(&stored.job.id.0).unwrap_or_default();
        let job = Job {
            updated_at: changed_at.unwrap_or(stored.job.updated_at),
            ..stored.job.clone()
        };
        stored.job = aggregate_batch(job, batch.children, batch.stopped);
    }
    Ok(jobs)
}

type BatchSummary = (BatchState, Option<OffsetDateTime>);

async fn load_batch_summaries(
    c: &PostgresSession,
    batches: &[Uuid],
) -> Result<HashMap<Uuid, BatchSummary>, PostgresTransactionError> {
    let rows = c
        .query_all(
            "select id, stopped, queued, running, succeeded, failed, cancelled, changed_at from batch_standing
             where id = any($1)",
            &[&batches],
        )
        .await?;
    let read = |row: &Row| {
        let changed_at: i64 = get_value(row, "changed_at")?;
        let changed_at = (changed_at != 0).then(|| read_instant(changed_at, "changed_at"));
        let batch = BatchState {
            children: JobCounts {
                queued: get_number(row, "queued")?,
                running: get_number(row, "running")?,
                succeeded: get_number(row, "succeeded")?,
                failed: get_number(row, "failed")?,
                cancelled: get_number(row, "cancelled")?,
            },
            stopped: get_value(row, "stopped")?,
        };
        Ok((get_uuid(row, "id")?, (batch, changed_at.transpose()?)))
    };
    rows.iter().map(read).collect()
}
