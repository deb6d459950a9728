//! Rows of jobs, and of batches.

use std::time::Duration;

use ragstone_core::document::{Job, JobCounts, JobKind, JobStage, JobState, WorkerId};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::catalogue::{AttemptState, aggregate_batch};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::SqliteTransactionError;
use super::row::{get_acl, get_enum, get_instant, optional_json};
use crate::catalogue::stored::zip_options;
use crate::catalogue::value::{read_steady, steady_nanoseconds, to_nanoseconds, write_enum, write_json};

pub use crate::catalogue::stored::{BatchState, StoredJob};

impl StoredJob {
    /// Loads the row of `id`.
    pub fn load_job(connection: &Connection, id: JobId) -> Result<Option<Self>, SqliteTransactionError> {
        Self::find_first(connection, "select * from jobs where id = ?1", [id.0])
    }

    /// Returns the first row that `query` finds.
    pub fn find_first(
        connection: &Connection,
        query: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Option<Self>, SqliteTransactionError> {
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(parameters)?;
        rows.next()?.map(Self::from_row).transpose()
    }

    /// Returns all rows that `query` finds.
    pub fn find_all(
        connection: &Connection,
        query: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Vec<Self>, SqliteTransactionError> {
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(parameters)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Self::from_row(row)?);
        }
        Ok(found)
    }

    /// Reads a whole row of `jobs`.
    pub fn from_row(row: &Row<'_>) -> Result<Self, SqliteTransactionError> {
        Ok(Self {
            job: read_public_job(row)?,
            attempt_state: read_attempt_state(row)?,
            incarnation: row.get("life")?,
            source: row.get("source")?,
            acl: get_acl(row)?,
            queue_sequence: row.get("place")?,
        })
    }

    /// Converts the job to what callers see: the state of a batch is computed from its children.
    pub fn into_public_job(self, connection: &Connection) -> Result<Job, SqliteTransactionError> {
        match self.job.kind {
            JobKind::Batch => {
                let batch = BatchState::load_batch(connection, self.job.id)?.unwrap_or_default();
                Ok(aggregate_batch(self.job, batch.children, batch.stopped))
            }
            _ => Ok(self.job),
        }
    }

    /// Inserts a job that has no row yet.
    pub fn insert_job(&self, connection: &Connection) -> Result<(), SqliteTransactionError> {
        self.write_row(
            connection,
            "insert into jobs (id, kind, document, parent, life, tenant, source, acl, generation, state, stage, done,
             total, rate, attempts, error, created_at, updated_at, place, due, wait, wait_until, process, worker,
             lease_until, claims, failures, deaths, died_stage, died_at, reached, noted_at, timed_since, timed_from, suspect)
             values (:id, :kind, :document, :parent, :life, :tenant, :source, :acl, :generation, :state, :stage, :done,
             :total, :rate, :attempts, :error, :created_at, :updated_at, :place, :due, :wait, :wait_until, :process,
             :worker, :lease_until, :claims, :failures, :deaths, :died_stage, :died_at, :reached, :noted_at,
             :timed_since, :timed_from, :suspect)",
        )
    }

    /// Updates the row of a job.
    pub fn update_job(&self, connection: &Connection) -> Result<(), SqliteTransactionError> {
        self.write_row(
            connection,
            "update jobs set kind = :kind, document = :document, parent = :parent, life = :life, tenant = :tenant,
             source = :source, acl = :acl, generation = :generation, state = :state, stage = :stage, done = :done,
             total = :total, rate = :rate, attempts = :attempts, error = :error, created_at = :created_at,
             updated_at = :updated_at, place = :place, due = :due, wait = :wait, wait_until = :wait_until,
             process = :process, worker = :worker, lease_until = :lease_until, claims = :claims, failures = :failures,
             deaths = :deaths, died_stage = :died_stage, died_at = :died_at, reached = :reached, noted_at = :noted_at,
             timed_since = :timed_since, timed_from = :timed_from, suspect = :suspect where id = :id",
        )
    }

    fn write_row(&self, connection: &Connection, statement: &str) -> Result<(), SqliteTransactionError> {
        let (job, course) = (&self.job, &self.attempt_state);
        let due = match job.kind {
            JobKind::Batch => -1,
            _ => steady_nanoseconds(course.due)?,
        };
        connection.prepare_cached(statement)?.execute(named_params! {
            ":id": job.id.0,
            ":kind": write_enum(&job.kind)?,
            ":document": job.document_id.map(|id| id.0),
            ":parent": job.parent.map(|id| id.0),
            ":life": self.incarnation,
            ":tenant": self.acl.tenant.as_str(),
            ":source": self.source,
            ":acl": write_json(&self.acl)?,
            ":generation": job.generation.0,
            ":state": write_enum(&job.state)?,
            ":stage": write_enum(&job.stage)?,
            ":done": job.done,
            ":total": job.total,
            ":rate": job.rate,
            ":attempts": job.attempts,
            ":error": job.error.as_ref().map(write_json).transpose()?,
            ":created_at": to_nanoseconds(job.created_at)?,
            ":updated_at": to_nanoseconds(job.updated_at)?,
            ":place": self.queue_sequence,
            ":due": due,
            ":wait": course.wait.map(|(wait, _)| steady_nanoseconds(wait)).transpose()?,
            ":wait_until": course.wait.map(|(_, until)| to_nanoseconds(until)).transpose()?,
            ":process": job.worker.map(|worker| worker.process),
            ":worker": job.worker.map(|worker| worker.number),
            ":lease_until": course.lease_until.map(steady_nanoseconds).transpose()?,
            ":claims": course.claims,
            ":failures": course.failures,
            ":deaths": course.deaths,
            ":died_stage": course.died.map(|(stage, _)| write_enum(&stage)).transpose()?,
            ":died_at": course.died.map(|(_, reached)| reached),
            ":reached": course.reached,
            ":noted_at": steady_nanoseconds(course.noted_at)?,
            ":timed_since": course.timed.map(|(since, _)| steady_nanoseconds(since)).transpose()?,
            ":timed_from": course.timed.map(|(_, from)| from),
            ":suspect": course.suspect,
        })?;
        Ok(())
    }
}

fn read_public_job(row: &Row<'_>) -> Result<Job, SqliteTransactionError> {
    Ok(Job {
        id: JobId(row.get("id")?),
        kind: get_enum::<JobKind>(row, "kind")?,
        document_id: row.get::<_, Option<_>>("document")?.map(DocumentId),
        parent: row.get::<_, Option<_>>("parent")?.map(JobId),
        children: None,
        generation: Generation(row.get("generation")?),
        state: get_enum::<JobState>(row, "state")?,
        stage: get_enum::<JobStage>(row, "stage")?,
        done: row.get("done")?,
        total: row.get("total")?,
        rate: row.get("rate")?,
        attempts: row.get("attempts")?,
        worker: zip_options(row.get("process")?, row.get("worker")?)
            .map(|(process, number)| WorkerId { process, number }),
        error: optional_json(row, "error")?,
        created_at: get_instant(row, "created_at")?,
        updated_at: get_instant(row, "updated_at")?,
    })
}

fn read_attempt_state(row: &Row<'_>) -> Result<AttemptState, SqliteTransactionError> {
    let since = |column: &str| -> Result<Option<Duration>, SqliteTransactionError> {
        let nanoseconds: Option<i64> = row.get(column)?;
        Ok(nanoseconds.map(read_steady))
    };
    let died_stage = match row.get::<_, Option<String>>("died_stage")? {
        Some(_) => Some(get_enum::<JobStage>(row, "died_stage")?),
        None => None,
    };
    let wait_until = match row.get::<_, Option<i64>>("wait_until")? {
        Some(_) => Some(get_instant(row, "wait_until")?),
        None => None,
    };
    Ok(AttemptState {
        claims: row.get("claims")?,
        failures: row.get("failures")?,
        deaths: row.get("deaths")?,
        died: zip_options(died_stage, row.get("died_at")?),
        suspect: row.get("suspect")?,
        reached: row.get("reached")?,
        noted_at: since("noted_at")?.unwrap_or_default(),
        timed: zip_options(since("timed_since")?, row.get("timed_from")?),
        lease_until: since("lease_until")?,
        due: since("due")?.unwrap_or_default(),
        wait: zip_options(since("wait")?, wait_until),
    })
}

impl BatchState {
    /// Loads the row of `id`.
    pub fn load_batch(connection: &Connection, id: JobId) -> Result<Option<Self>, SqliteTransactionError> {
        let mut statement = connection.prepare_cached("select * from batches where id = ?1")?;
        let read = |row: &Row<'_>| {
            Ok(Self {
                children: JobCounts {
                    queued: row.get("queued")?,
                    running: row.get("running")?,
                    succeeded: row.get("succeeded")?,
                    failed: row.get("failed")?,
                    cancelled: row.get("cancelled")?,
                },
                stopped: row.get("stopped")?,
            })
        };
        Ok(statement.query_row([id.0], read).optional()?)
    }

    /// Inserts a batch without children.
    pub fn insert_batch(connection: &Connection, id: JobId) -> Result<(), SqliteTransactionError> {
        let mut statement = connection.prepare_cached("insert into batches (id) values (?1)")?;
        statement.execute([id.0])?;
        Ok(())
    }

    /// Sets whether the batch is cancelled.
    pub fn set_stopped(connection: &Connection, id: JobId, stopped: bool) -> Result<(), SqliteTransactionError> {
        let mut statement = connection.prepare_cached("update batches set stopped = ?2 where id = ?1")?;
        statement.execute((id.0, stopped))?;
        Ok(())
    }
}
