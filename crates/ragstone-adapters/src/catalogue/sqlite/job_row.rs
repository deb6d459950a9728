//! Rows of jobs, and of the batches they are part of.

use std::time::Duration;

use ragstone_core::document::{Job, JobCounts, JobKind, JobState, Stage, Worker};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::catalogue::{Course, summed};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::Failure;
use super::row::{acl, instant, optional_json, word};
use crate::catalogue::stored::both;
use crate::catalogue::value::{nanoseconds, read_steady, steady, write_json, write_word};

pub use crate::catalogue::stored::{Batch, StoredJob};

impl StoredJob {
    /// The row of `id`.
    pub fn load(connection: &Connection, id: JobId) -> Result<Option<Self>, Failure> {
        Self::first(connection, "select * from jobs where id = ?1", [id.0])
    }

    /// The first row that `query` finds.
    pub fn first(
        connection: &Connection,
        query: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Option<Self>, Failure> {
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(parameters)?;
        rows.next()?.map(Self::read).transpose()
    }

    /// Every row that `query` finds.
    pub fn all(connection: &Connection, query: &str, parameters: impl rusqlite::Params) -> Result<Vec<Self>, Failure> {
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(parameters)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Self::read(row)?);
        }
        Ok(found)
    }

    /// Reads a whole row of `jobs`.
    pub fn read(row: &Row<'_>) -> Result<Self, Failure> {
        Ok(Self {
            job: job(row)?,
            course: course(row)?,
            life: row.get("life")?,
            source: row.get("source")?,
            acl: acl(row)?,
            place: row.get("place")?,
        })
    }

    /// The job as others see it.
    pub fn shown(self, connection: &Connection) -> Result<Job, Failure> {
        match self.job.kind {
            JobKind::Batch => {
                let batch = Batch::load(connection, self.job.id)?.unwrap_or_default();
                Ok(summed(self.job, batch.children, batch.stopped))
            }
            _ => Ok(self.job),
        }
    }

    /// Writes a job that is not there yet.
    pub fn insert(&self, connection: &Connection) -> Result<(), Failure> {
        self.write(
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

    /// Writes a job that is there.
    pub fn update(&self, connection: &Connection) -> Result<(), Failure> {
        self.write(
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

    fn write(&self, connection: &Connection, statement: &str) -> Result<(), Failure> {
        let (job, course) = (&self.job, &self.course);
        let due = match job.kind {
            JobKind::Batch => -1,
            _ => steady(course.due)?,
        };
        connection.prepare_cached(statement)?.execute(named_params! {
            ":id": job.id.0,
            ":kind": write_word(&job.kind)?,
            ":document": job.document_id.map(|id| id.0),
            ":parent": job.parent.map(|id| id.0),
            ":life": self.life,
            ":tenant": self.acl.tenant.as_str(),
            ":source": self.source,
            ":acl": write_json(&self.acl)?,
            ":generation": job.generation.0,
            ":state": write_word(&job.state)?,
            ":stage": write_word(&job.stage)?,
            ":done": job.done,
            ":total": job.total,
            ":rate": job.rate,
            ":attempts": job.attempts,
            ":error": job.error.as_ref().map(write_json).transpose()?,
            ":created_at": nanoseconds(job.created_at)?,
            ":updated_at": nanoseconds(job.updated_at)?,
            ":place": self.place,
            ":due": due,
            ":wait": course.wait.map(|(wait, _)| steady(wait)).transpose()?,
            ":wait_until": course.wait.map(|(_, until)| nanoseconds(until)).transpose()?,
            ":process": job.worker.map(|worker| worker.process),
            ":worker": job.worker.map(|worker| worker.number),
            ":lease_until": course.lease_until.map(steady).transpose()?,
            ":claims": course.claims,
            ":failures": course.failures,
            ":deaths": course.deaths,
            ":died_stage": course.died.map(|(stage, _)| write_word(&stage)).transpose()?,
            ":died_at": course.died.map(|(_, reached)| reached),
            ":reached": course.reached,
            ":noted_at": steady(course.noted_at)?,
            ":timed_since": course.timed.map(|(since, _)| steady(since)).transpose()?,
            ":timed_from": course.timed.map(|(_, from)| from),
            ":suspect": course.suspect,
        })?;
        Ok(())
    }
}

fn job(row: &Row<'_>) -> Result<Job, Failure> {
    Ok(Job {
        id: JobId(row.get("id")?),
        kind: word::<JobKind>(row, "kind")?,
        document_id: row.get::<_, Option<_>>("document")?.map(DocumentId),
        parent: row.get::<_, Option<_>>("parent")?.map(JobId),
        children: None,
        generation: Generation(row.get("generation")?),
        state: word::<JobState>(row, "state")?,
        stage: word::<Stage>(row, "stage")?,
        done: row.get("done")?,
        total: row.get("total")?,
        rate: row.get("rate")?,
        attempts: row.get("attempts")?,
        worker: both(row.get("process")?, row.get("worker")?).map(|(process, number)| Worker { process, number }),
        error: optional_json(row, "error")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
    })
}

fn course(row: &Row<'_>) -> Result<Course, Failure> {
    let since = |column: &str| -> Result<Option<Duration>, Failure> {
        let nanoseconds: Option<i64> = row.get(column)?;
        Ok(nanoseconds.map(read_steady))
    };
    let died_stage = match row.get::<_, Option<String>>("died_stage")? {
        Some(_) => Some(word::<Stage>(row, "died_stage")?),
        None => None,
    };
    let wait_until = match row.get::<_, Option<i64>>("wait_until")? {
        Some(_) => Some(instant(row, "wait_until")?),
        None => None,
    };
    Ok(Course {
        claims: row.get("claims")?,
        failures: row.get("failures")?,
        deaths: row.get("deaths")?,
        died: both(died_stage, row.get("died_at")?),
        suspect: row.get("suspect")?,
        reached: row.get("reached")?,
        noted_at: since("noted_at")?.unwrap_or_default(),
        timed: both(since("timed_since")?, row.get("timed_from")?),
        lease_until: since("lease_until")?,
        due: since("due")?.unwrap_or_default(),
        wait: both(since("wait")?, wait_until),
    })
}

impl Batch {
    /// The row of `id`.
    pub fn load(connection: &Connection, id: JobId) -> Result<Option<Self>, Failure> {
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

    /// A batch without children.
    pub fn insert(connection: &Connection, id: JobId) -> Result<(), Failure> {
        let mut statement = connection.prepare_cached("insert into batches (id) values (?1)")?;
        statement.execute([id.0])?;
        Ok(())
    }

    /// Notes whether it is cancelled.
    pub fn stop(connection: &Connection, id: JobId, stopped: bool) -> Result<(), Failure> {
        let mut statement = connection.prepare_cached("update batches set stopped = ?2 where id = ?1")?;
        statement.execute((id.0, stopped))?;
        Ok(())
    }
}
