//! Writes requested by a caller: a new version, a changed document, a deletion.

use ragstone_core::access::{Acl, Scope};
use ragstone_core::document::{Document, DocumentStatus, Job, JobKind};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::catalogue::{BeginOutcome, CatalogueError, DocumentPatch, NewVersion, check_writer};
use rusqlite::{Connection, params};
use time::OffsetDateTime;

use super::SqliteTransactionError;
use super::attachments::{delete_attachment_row, update_attached_documents};
use super::job_row::{BatchState, StoredJob};
use super::queue::last_sequence;
use super::row::{StoredDocument, draw_generation};
use super::statistics::{self, StatisticsChange};
use crate::catalogue::value::{to_nanoseconds, write_json};
use crate::catalogue::version::{
    MetadataAmendments, apply_patch, has_same_content, is_visible, metadata_amendments, new_document_row,
    next_version_row, rebuild_from_published, with_amendments,
};

/// Writes a version and its job, or finds that nothing has to change.
pub fn begin_version(
    t: &Connection,
    scope: &Scope,
    version: NewVersion,
    job: JobId,
    now: OffsetDateTime,
) -> Result<BeginOutcome, SqliteTransactionError> {
    let id = version.document_id();
    let stored = StoredDocument::load_document(t, id)?;
    let living = stored.filter(|stored| stored.document.status != DocumentStatus::Deleting);
    version.check_may_overwrite(scope, living.as_ref().map(|stored| &stored.document))?;
    write_version(t, &|acl: &Acl| scope.admits(acl), living, version, job, now)
}

/// Writes a version over the current document; `admits` decides which batches it may join.
pub fn write_version(
    t: &Connection,
    admits: &dyn Fn(&Acl) -> bool,
    living: Option<StoredDocument>,
    version: NewVersion,
    job: JobId,
    now: OffsetDateTime,
) -> Result<BeginOutcome, SqliteTransactionError> {
    let id = version.document_id();
    match living {
        Some(stored) if has_same_content(&stored, &version) => {
            amend_document(t, stored, metadata_amendments(version), now)
        }
        Some(stored) => {
            let batch = version.batch;
            cancel_ingests(t, id, now)?;
            start_version(t, admits, next_version_row(stored, version, now), batch, job, now)
        }
        None => {
            let (life, batch) = (draw_generation(t)?.0, version.batch);
            start_version(t, admits, new_document_row(version, life, now), batch, job, now)
        }
    }
}

fn amend_document(
    t: &Connection,
    stored: StoredDocument,
    amendments: MetadataAmendments,
    now: OffsetDateTime,
) -> Result<BeginOutcome, SqliteTransactionError> {
    let mut changed = with_amendments(&stored, amendments);
    if changed == stored {
        return Ok(BeginOutcome::Unchanged(stored.document));
    }
    changed.document.updated_at = now;
    save_with_jobs(t, &changed)?;
    Ok(BeginOutcome::Updated(changed.document))
}

fn start_version(
    t: &Connection,
    admits: &dyn Fn(&Acl) -> bool,
    mut stored: StoredDocument,
    batch: Option<JobId>,
    job: JobId,
    now: OffsetDateTime,
) -> Result<BeginOutcome, SqliteTransactionError> {
    stored.update_title();
    if let Some(batch) = batch {
        join_batch(t, admits, &stored, batch, now)?;
    }
    save_with_jobs(t, &stored)?;
    let job = queue_job(t, &stored, Job::new_queued(job, JobKind::Ingest, batch, now))?;
    Ok(BeginOutcome::Started(stored.document, job))
}

/// Joins the batch, or creates it.
fn join_batch(
    t: &Connection,
    admits: &dyn Fn(&Acl) -> bool,
    stored: &StoredDocument,
    batch: JobId,
    now: OffsetDateTime,
) -> Result<(), SqliteTransactionError> {
    let Some(found) = StoredJob::load_job(t, batch)? else {
        BatchState::insert_batch(t, batch)?;
        let mut job = StoredJob::for_document(stored, Job::new_queued(batch, JobKind::Batch, None, now));
        job.job.document_id = None;
        return job.insert_job(t);
    };
    let is_open = BatchState::load_batch(t, batch)?.is_some_and(|batch| !batch.stopped);
    match is_open && admits(&found.acl) {
        true => Ok(()),
        false => Err(CatalogueError::BatchTaken.into()),
    }
}

/// Inserts a job of a document.
pub fn queue_job(t: &Connection, stored: &StoredDocument, job: Job) -> Result<Job, SqliteTransactionError> {
    let mut row = StoredJob::for_document(stored, job);
    row.job.generation = draw_generation(t)?;
    row.queue_sequence = last_sequence(t, row.acl.tenant.as_str(), &row.source)?;
    row.insert_job(t)?;
    Ok(row.job)
}

/// Queues the published bytes for processing by another pipeline.
pub fn queue_reingest(
    t: &Connection,
    scope: &Scope,
    id: DocumentId,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, SqliteTransactionError> {
    let stored = StoredDocument::load_document(t, id)?.filter(|stored| is_visible(&stored.document, scope));
    let Some(stored) = stored.filter(|stored| stored.document.published.is_some()) else {
        return Ok(None);
    };
    let live = "select exists (select 1 from jobs where document = ?1 and state in ('queued', 'running'))";
    if t.prepare_cached(live)?.query_row([id.0], |row| row.get(0))? {
        return Ok(None);
    }
    reingest_published(t, stored, pipeline, job, now).map(Some)
}

/// Queues the published bytes of a document that has no active job.
pub fn reingest_published(
    t: &Connection,
    mut stored: StoredDocument,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Job, SqliteTransactionError> {
    rebuild_from_published(&mut stored, pipeline, now);
    stored.save_document(t)?;
    queue_job(t, &stored, Job::new_queued(job, JobKind::Ingest, None, now))
}

/// Applies a patch, which changes no bytes.
pub fn patch_document(
    t: &Connection,
    scope: &Scope,
    id: DocumentId,
    patch: DocumentPatch,
    now: OffsetDateTime,
) -> Result<Option<Document>, SqliteTransactionError> {
    let stored = StoredDocument::load_document(t, id)?;
    let Some(stored) = stored.filter(|stored| is_visible(&stored.document, scope)) else {
        return Ok(None);
    };
    patch.check_may_patch(scope, &stored.document)?;
    let mut changed = stored.clone();
    apply_patch(&mut changed, patch);
    if changed != stored {
        changed.document.updated_at = now;
        save_with_jobs(t, &changed)?;
    }
    Ok(Some(changed.document))
}

/// Saves a document, and gives its jobs and attachments the same readers.
pub fn save_with_jobs(t: &Connection, stored: &StoredDocument) -> Result<(), SqliteTransactionError> {
    stored.save_document(t)?;
    update_attached_documents(t, &stored.document)?;
    t.prepare_cached("update jobs set acl = ?1 where document = ?2 and life = ?3")?
        .execute(params![
            write_json(&stored.document.acl)?,
            stored.document.id.0,
            stored.incarnation
        ])?;
    Ok(())
}

/// Tombstones a document and queues a purge of all its data.
pub fn tombstone_document(
    t: &Connection,
    changes: &mut Vec<StatisticsChange>,
    scope: &Scope,
    id: DocumentId,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, SqliteTransactionError> {
    let stored = StoredDocument::load_document(t, id)?;
    let Some(stored) = stored.filter(|stored| is_visible(&stored.document, scope)) else {
        return Ok(None);
    };
    check_writer(scope, &stored.document)?;
    tombstone_unchecked(t, changes, stored, job, now).map(Some)
}

/// Tombstones an existing document, without a scope check.
pub fn tombstone_unchecked(
    t: &Connection,
    changes: &mut Vec<StatisticsChange>,
    mut stored: StoredDocument,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Job, SqliteTransactionError> {
    let id = stored.document.id;
    cancel_ingests(t, id, now)?;
    stored.document.status = DocumentStatus::Deleting;
    stored.document.updated_at = now;
    stored.save_document(t)?;
    let published = stored.document.published.unwrap_or(Generation(0));
    changes.extend(statistics::remove_generation(t, id, published)?);
    delete_attachment_row(t, id)?;
    // The purge removes everything before this generation: the incarnation that ends here.
    queue_job(t, &stored, Job::new_queued(job, JobKind::Purge, None, now))
}

/// Cancels the ingestions of a document. Purges of earlier incarnations continue: what they remove belongs to nothing
/// else.
pub fn cancel_ingests(t: &Connection, id: DocumentId, now: OffsetDateTime) -> Result<(), SqliteTransactionError> {
    t.prepare_cached(
        "update jobs set state = 'cancelled', stage = 'done', updated_at = ?2, rate = null, process = null,
         worker = null, lease_until = null, due = 0, wait = null, wait_until = null
         where document = ?1 and kind = 'ingest' and state in ('queued', 'running')",
    )?
    .execute(params![id.0, to_nanoseconds(now)?])?;
    Ok(())
}
