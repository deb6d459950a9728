//! Writes that a caller asks for: a new version, a changed document, a deletion.

use ragstone_core::access::{Acl, Scope};
use ragstone_core::document::{Document, DocumentStatus, Job, JobKind};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::catalogue::{Begun, CatalogueError, DocumentPatch, NewVersion, check_writer};
use rusqlite::{Connection, params};
use time::OffsetDateTime;

use super::Failure;
use super::attachments::{forget, hand_down};
use super::job_row::{Batch, StoredJob};
use super::queue::last_place;
use super::row::{StoredDocument, draw_generation};
use super::statistics::{self, Change};
use crate::catalogue::value::{nanoseconds, write_json};
use crate::catalogue::version::{
    Amendments, amended, amendments, apply, born, holds, is_visible, make_of_published, renewed,
};

/// Writes a version and its job, or finds that there is nothing to do.
pub fn begin(
    t: &Connection,
    scope: &Scope,
    version: NewVersion,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    let id = version.document_id();
    let stored = StoredDocument::load(t, id)?;
    let living = stored.filter(|stored| stored.document.status != DocumentStatus::Deleting);
    version.check_over(scope, living.as_ref().map(|stored| &stored.document))?;
    put(t, &|acl: &Acl| scope.admits(acl), living, version, job, now)
}

/// Writes a version over what lives in its place; `admits` says whose batches it may join.
pub fn put(
    t: &Connection,
    admits: &dyn Fn(&Acl) -> bool,
    living: Option<StoredDocument>,
    version: NewVersion,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    let id = version.document_id();
    match living {
        Some(stored) if holds(&stored, &version) => update(t, stored, amendments(version), now),
        Some(stored) => {
            let batch = version.batch;
            cancel_ingests(t, id, now)?;
            start(t, admits, renewed(stored, version, now), batch, job, now)
        }
        None => {
            let (life, batch) = (draw_generation(t)?.0, version.batch);
            start(t, admits, born(version, life, now), batch, job, now)
        }
    }
}

fn update(
    t: &Connection,
    stored: StoredDocument,
    amendments: Amendments,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    let mut changed = amended(&stored, amendments);
    if changed == stored {
        return Ok(Begun::Unchanged(stored.document));
    }
    changed.document.updated_at = now;
    save_with_jobs(t, &changed)?;
    Ok(Begun::Updated(changed.document))
}

fn start(
    t: &Connection,
    admits: &dyn Fn(&Acl) -> bool,
    mut stored: StoredDocument,
    batch: Option<JobId>,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    stored.name_it();
    if let Some(batch) = batch {
        join(t, admits, &stored, batch, now)?;
    }
    save_with_jobs(t, &stored)?;
    let job = queue(t, &stored, Job::queued(job, JobKind::Ingest, batch, now))?;
    Ok(Begun::Started(stored.document, job))
}

/// Finds the batch, or begins it.
fn join(
    t: &Connection,
    admits: &dyn Fn(&Acl) -> bool,
    stored: &StoredDocument,
    batch: JobId,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let Some(found) = StoredJob::load(t, batch)? else {
        Batch::insert(t, batch)?;
        let mut job = StoredJob::of(stored, Job::queued(batch, JobKind::Batch, None, now));
        job.job.document_id = None;
        return job.insert(t);
    };
    let is_open = Batch::load(t, batch)?.is_some_and(|batch| !batch.stopped);
    match is_open && admits(&found.acl) {
        true => Ok(()),
        false => Err(CatalogueError::BatchTaken.into()),
    }
}

/// Writes a job of a document.
pub fn queue(t: &Connection, stored: &StoredDocument, job: Job) -> Result<Job, Failure> {
    let mut row = StoredJob::of(stored, job);
    row.job.generation = draw_generation(t)?;
    row.place = last_place(t, row.acl.tenant.as_str(), &row.source)?;
    row.insert(t)?;
    Ok(row.job)
}

/// Queues a version of the published bytes for another pipeline.
pub fn reingest(
    t: &Connection,
    scope: &Scope,
    id: DocumentId,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, Failure> {
    let stored = StoredDocument::load(t, id)?.filter(|stored| is_visible(&stored.document, scope));
    let Some(stored) = stored.filter(|stored| stored.document.published.is_some()) else {
        return Ok(None);
    };
    let live = "select exists (select 1 from jobs where document = ?1 and state in ('queued', 'running'))";
    if t.prepare_cached(live)?.query_row([id.0], |row| row.get(0))? {
        return Ok(None);
    }
    make_again(t, stored, pipeline, job, now).map(Some)
}

/// Queues a version of the published bytes of a document that has no live job.
pub fn make_again(
    t: &Connection,
    mut stored: StoredDocument,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Job, Failure> {
    make_of_published(&mut stored, pipeline, now);
    stored.save(t)?;
    queue(t, &stored, Job::queued(job, JobKind::Ingest, None, now))
}

/// Changes what touches no bytes.
pub fn patch(
    t: &Connection,
    scope: &Scope,
    id: DocumentId,
    patch: DocumentPatch,
    now: OffsetDateTime,
) -> Result<Option<Document>, Failure> {
    let stored = StoredDocument::load(t, id)?;
    let Some(stored) = stored.filter(|stored| is_visible(&stored.document, scope)) else {
        return Ok(None);
    };
    patch.check_over(scope, &stored.document)?;
    let mut changed = stored.clone();
    apply(&mut changed, patch);
    if changed != stored {
        changed.document.updated_at = now;
        save_with_jobs(t, &changed)?;
    }
    Ok(Some(changed.document))
}

/// A document's jobs are seen by whom the document is seen, and so is what is attached to it.
pub fn save_with_jobs(t: &Connection, stored: &StoredDocument) -> Result<(), Failure> {
    stored.save(t)?;
    hand_down(t, &stored.document)?;
    t.prepare_cached("update jobs set acl = ?1 where document = ?2 and life = ?3")?
        .execute(params![
            write_json(&stored.document.acl)?,
            stored.document.id.0,
            stored.life
        ])?;
    Ok(())
}

/// Tombstones a document and queues the purge of everything it has.
pub fn tombstone(
    t: &Connection,
    changes: &mut Vec<Change>,
    scope: &Scope,
    id: DocumentId,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, Failure> {
    let stored = StoredDocument::load(t, id)?;
    let Some(stored) = stored.filter(|stored| is_visible(&stored.document, scope)) else {
        return Ok(None);
    };
    check_writer(scope, &stored.document)?;
    bury(t, changes, stored, job, now).map(Some)
}

/// Tombstones a document that is there.
pub fn bury(
    t: &Connection,
    changes: &mut Vec<Change>,
    mut stored: StoredDocument,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Job, Failure> {
    let id = stored.document.id;
    cancel_ingests(t, id, now)?;
    stored.document.status = DocumentStatus::Deleting;
    stored.document.updated_at = now;
    stored.save(t)?;
    let published = stored.document.published.unwrap_or(Generation(0));
    changes.extend(statistics::withdraw(t, id, published)?);
    forget(t, id)?;
    // Everything before this generation is the life that ends here.
    queue(t, &stored, Job::queued(job, JobKind::Purge, None, now))
}

/// Purges of earlier lives go on: what they remove is nobody else's.
pub fn cancel_ingests(t: &Connection, id: DocumentId, now: OffsetDateTime) -> Result<(), Failure> {
    t.prepare_cached(
        "update jobs set state = 'cancelled', stage = 'done', updated_at = ?2, rate = null, process = null,
         worker = null, lease_until = null, due = 0, wait = null, wait_until = null
         where document = ?1 and kind = 'ingest' and state in ('queued', 'running')",
    )?
    .execute(params![id.0, nanoseconds(now)?])?;
    Ok(())
}
