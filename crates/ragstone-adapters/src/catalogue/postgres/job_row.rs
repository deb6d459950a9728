//! Rows of jobs, and of the batches they are part of.

use std::collections::HashMap;

use ragstone_core::document::{Job, JobCounts, JobKind, Worker};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::catalogue::{Course, summed};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::database::{Session, Values};
use super::error::Failure;
use super::row::{
    Hold, acl, get, id, instant, number, optional_instant, optional_json, optional_number, optional_word, whole, word,
};
use crate::catalogue::stored::{Batch, StoredJob, both};
use crate::catalogue::value::{nanoseconds, read_instant, read_steady, steady, write_json, write_word};

/// Every column of a job that is read. Named one by one: what a later release adds must not change what this one
/// prepared.
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

/// The row of `id`.
pub async fn job(c: &Session, id: JobId, hold: Hold) -> Result<Option<StoredJob>, Failure> {
    let query = match hold {
        Hold::No => format!("select {JOB} from jobs where id = $1"),
        Hold::Row => format!("select {JOB} from jobs where id = $1 for update"),
    };
    first(c, &query, &[&id.0]).await
}

/// The first job that `query` finds.
pub async fn first(c: &Session, query: &str, values: Values<'_>) -> Result<Option<StoredJob>, Failure> {
    c.first(query, values).await?.as_ref().map(read_job).transpose()
}

/// Writes a job that is not there yet.
pub async fn insert_job(t: &Session, stored: &StoredJob) -> Result<(), Failure> {
    write(t, stored, None, INSERT).await
}

/// Writes a job whose row is held, and that nobody works on.
pub async fn update_job(t: &Session, stored: &StoredJob) -> Result<(), Failure> {
    write(t, stored, None, UPDATE).await
}

/// Writes a job whose row is held, and on which a worker of the process `holder` works.
pub async fn update_held_job(t: &Session, stored: &StoredJob, holder: Uuid) -> Result<(), Failure> {
    write(t, stored, Some(holder), UPDATE).await
}

async fn write(t: &Session, stored: &StoredJob, holder: Option<Uuid>, statement: &str) -> Result<(), Failure> {
    let (job, course) = (&stored.job, &stored.course);
    let due = match job.kind {
        JobKind::Batch => -1,
        _ => steady(course.due)?,
    };
    t.run(
        statement,
        &[
            &job.id.0,
            &write_word(&job.kind)?,
            &job.document_id.map(|id| id.0),
            &job.parent.map(|id| id.0),
            &whole(stored.life)?,
            &stored.acl.tenant.as_str(),
            &stored.source,
            &write_json(&stored.acl)?,
            &whole(job.generation.0)?,
            &write_word(&job.state)?,
            &write_word(&job.stage)?,
            &whole(job.done)?,
            &whole(job.total)?,
            &job.rate,
            &i64::from(job.attempts),
            &job.error.as_ref().map(write_json).transpose()?,
            &nanoseconds(job.created_at)?,
            &nanoseconds(job.updated_at)?,
            &whole(stored.place)?,
            &due,
            &course.wait.map(|(wait, _)| steady(wait)).transpose()?,
            &course.wait.map(|(_, until)| nanoseconds(until)).transpose()?,
            &job.worker.map(|worker| i64::from(worker.process)),
            &job.worker.map(|worker| i64::from(worker.number)),
            &course.lease_until.map(steady).transpose()?,
            &i64::from(course.claims),
            &i64::from(course.failures),
            &i64::from(course.deaths),
            &course.died.map(|(stage, _)| write_word(&stage)).transpose()?,
            &course.died.map(|(_, reached)| whole(reached)).transpose()?,
            &whole(course.reached)?,
            &steady(course.noted_at)?,
            &course.timed.map(|(since, _)| steady(since)).transpose()?,
            &course.timed.map(|(_, from)| whole(from)).transpose()?,
            &holder,
            &course.suspect,
        ],
    )
    .await
    .map(drop)
}

/// Reads a row of [`JOB`].
pub fn read_job(row: &Row) -> Result<StoredJob, Failure> {
    Ok(StoredJob {
        job: seen_job(row)?,
        course: course(row)?,
        life: number(row, "life")?,
        source: get(row, "source")?,
        acl: acl(row)?,
        place: number(row, "place")?,
    })
}

fn seen_job(row: &Row) -> Result<Job, Failure> {
    let worker = both(optional_number(row, "process")?, optional_number(row, "worker")?);
    Ok(Job {
        id: JobId(id(row, "id")?),
        kind: word(row, "kind")?,
        document_id: get::<Option<_>>(row, "document")?.map(DocumentId),
        parent: get::<Option<_>>(row, "parent")?.map(JobId),
        children: None,
        generation: Generation(number(row, "generation")?),
        state: word(row, "state")?,
        stage: word(row, "stage")?,
        done: number(row, "done")?,
        total: number(row, "total")?,
        rate: get(row, "rate")?,
        attempts: number(row, "attempts")?,
        worker: worker.map(|(process, number)| Worker { process, number }),
        error: optional_json(row, "error")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
    })
}

fn course(row: &Row) -> Result<Course, Failure> {
    let since = |column: &str| Ok::<_, Failure>(get::<Option<i64>>(row, column)?.map(read_steady));
    Ok(Course {
        claims: number(row, "claims")?,
        failures: number(row, "failures")?,
        deaths: number(row, "deaths")?,
        died: both(optional_word(row, "died_stage")?, optional_number(row, "died_at")?),
        suspect: get(row, "suspect")?,
        reached: number(row, "reached")?,
        noted_at: since("noted_at")?.unwrap_or_default(),
        timed: both(since("timed_since")?, optional_number(row, "timed_from")?),
        lease_until: since("lease_until")?,
        due: since("due")?.unwrap_or_default(),
        wait: both(since("wait")?, optional_instant(row, "wait_until")?),
    })
}

/// A batch without children.
pub async fn insert_batch(t: &Session, id: JobId) -> Result<(), Failure> {
    t.run("insert into batches (id) values ($1)", &[&id.0]).await.map(drop)
}

/// Notes whether a batch is cancelled.
pub async fn stop_batch(t: &Session, id: JobId, stopped: bool) -> Result<(), Failure> {
    t.run("update batches set stopped = $2 where id = $1", &[&id.0, &stopped])
        .await
        .map(drop)
}

/// Whether a batch takes children; it goes on doing so until the transaction ends.
pub async fn is_open_batch(t: &Session, id: JobId) -> Result<bool, Failure> {
    let row = t
        .first("select stopped from batches where id = $1 for share", &[&id.0])
        .await?;
    let stopped = row.map(|row| get::<bool>(&row, "stopped")).transpose()?;
    Ok(stopped == Some(false))
}

/// The jobs as others see them: batches as their children stand.
pub async fn shown(c: &Session, mut jobs: Vec<StoredJob>) -> Result<Vec<StoredJob>, Failure> {
    let is_batch = |stored: &StoredJob| stored.job.kind == JobKind::Batch;
    let batches: Vec<_> = jobs
        .iter()
        .filter(|stored| is_batch(stored))
        .map(|b| b.job.id.0)
        .collect();
    if batches.is_empty() {
        return Ok(jobs);
    }
    let mut standing = standing(c, &batches).await?;
    for stored in jobs.iter_mut().filter(|stored| is_batch(stored)) {
        let (batch, changed_at) = standing.remove(&stored.job.id.0).unwrap_or_default();
        let job = Job {
            updated_at: changed_at.unwrap_or(stored.job.updated_at),
            ..stored.job.clone()
        };
        stored.job = summed(job, batch.children, batch.stopped);
    }
    Ok(jobs)
}

type Standing = (Batch, Option<OffsetDateTime>);

async fn standing(c: &Session, batches: &[Uuid]) -> Result<HashMap<Uuid, Standing>, Failure> {
    let rows = c
        .all(
            "select id, stopped, queued, running, succeeded, failed, cancelled, changed_at from batch_standing
             where id = any($1)",
            &[&batches],
        )
        .await?;
    let read = |row: &Row| {
        let changed_at: i64 = get(row, "changed_at")?;
        let changed_at = (changed_at != 0).then(|| read_instant(changed_at, "changed_at"));
        let batch = Batch {
            children: JobCounts {
                queued: number(row, "queued")?,
                running: number(row, "running")?,
                succeeded: number(row, "succeeded")?,
                failed: number(row, "failed")?,
                cancelled: number(row, "cancelled")?,
            },
            stopped: get(row, "stopped")?,
        };
        Ok((id(row, "id")?, (batch, changed_at.transpose()?)))
    };
    rows.iter().map(read).collect()
}
