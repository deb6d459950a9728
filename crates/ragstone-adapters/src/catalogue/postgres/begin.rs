//! Writes requested by a caller: a new version, a changed document, a deletion.
//!
//! Invariant: locks are taken in one order: the document's row, then rows of its jobs, then the batch, then the fair
//! queue of its source; so two transactions cannot deadlock.

use ragstone_core::access::{Acl, Scope};
use ragstone_core::document::{Document, DocumentStatus, Job, JobKind};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::catalogue::{BeginOutcome, CatalogueError, DocumentPatch, NewVersion, check_writer};
use time::OffsetDateTime;

use super::attachments::{delete_attachment_row, update_attached_documents};
use super::database::PostgresSession;
use super::error::PostgresTransactionError;
use super::job_row::{insert_batch, insert_job, is_open_batch, load_job};
use super::queue::last_sequence;
use super::row::{RowLock, draw_generation, insert_document, load_document, to_bigint, update_document, without_nul};
use super::statistics;
use crate::catalogue::stored::{StoredDocument, StoredJob};
use crate::catalogue::value::{to_nanoseconds, write_json};
use crate::catalogue::version::{
    MetadataAmendments, apply_patch, has_same_content, is_visible, metadata_amendments, new_document_row,
    next_version_row, rebuild_from_published, with_amendments,
};

/// Writes a version and its job, or finds that nothing has to change.
pub async fn begin_version(
    t: &PostgresSession,
    scope: &Scope,
    version: &NewVersion,
    job: JobId,
    now: OffsetDateTime,
) -> Result<BeginOutcome, PostgresTransactionError> {
    let id = version.document_id();
    let version = storable_version(version);
    let found = load_document(t, id, RowLock::ForUpdate).await?;
    let living = found
        .as_ref()
        .filter(|stored| stored.document.status != DocumentStatus::Deleting);
    version.check_may_overwrite(scope, living.map(|stored| &stored.document))?;
    write_version(t, &|acl: &Acl| scope.admits(acl), (id, found), version, job, now).await
}

/// Writes a version over its row, which is locked; `admits` decides which batches it may join.
pub async fn write_version(
    t: &PostgresSession,
    admits: &(dyn Fn(&Acl) -> bool + Sync),
    (id, found): (DocumentId, Option<StoredDocument>),
    version: NewVersion,
    job: JobId,
    now: OffsetDateTime,
) -> Result<BeginOutcome, PostgresTransactionError> {
    let has_row = found.is_some();
    let living = found.filter(|stored| stored.document.status != DocumentStatus::Deleting);
    let batch = version.batch;
    let mut stored = match living {
        Some(stored) if has_same_content(&stored, &version) => {
            return amend_document(t, stored, metadata_amendments(version), now).await;
        }
        Some(stored) => {
            cancel_ingests(t, id, now).await?;
            next_version_row(stored, version, now)
        }
        None => new_document_row(version, draw_generation(t).await?.0, now),
    };
    stored.document.id = id;
    stored.update_title();
    if let Some(batch) = batch {
        join_batch(t, admits, &stored, batch, now).await?;
    }
    match has_row {
        true => save_with_jobs(t, &stored).await?,
        false => insert_document(t, &stored).await?,
    }
    let job = queue_job(t, &stored, Job::new_queued(job, JobKind::Ingest, batch, now)).await?;
    Ok(BeginOutcome::Started(stored.document, job))
}

/// The version as the rows will store it, so that an identical version is recognised later.
pub fn storable_version(version: &NewVersion) -> NewVersion {
    let kept = |text: &Option<String>| text.as_deref().map(without_nul);
    NewVersion {
        uri: without_nul(&version.uri),
        name: without_nul(&version.name),
        title: kept(&version.title),
        declared_media_type: kept(&version.declared_media_type),
        brought_by: kept(&version.brought_by),
        department_id: kept(&version.department_id),
        incoming: without_nul(&version.incoming),
        pipeline: without_nul(&version.pipeline),
        ..version.clone()
    }
}

async fn amend_document(
    t: &PostgresSession,
    stored: StoredDocument,
    amendments: MetadataAmendments,
    now: OffsetDateTime,
) -> Result<BeginOutcome, PostgresTransactionError> {
    let mut changed = with_amendments(&stored, amendments);
    if changed == stored {
        return Ok(BeginOutcome::Unchanged(stored.document));
    }
    changed.document.updated_at = now;
    save_with_jobs(t, &changed).await?;
    Ok(BeginOutcome::Updated(changed.document))
}

/// Joins the batch, or creates it.
async fn join_batch(
    t: &PostgresSession,
    admits: &(dyn Fn(&Acl) -> bool + Sync),
    stored: &StoredDocument,
    batch: JobId,
    now: OffsetDateTime,
) -> Result<(), PostgresTransactionError> {
    let Some(found) = load_job(t, batch, RowLock::Unlocked).await? else {
        insert_batch(t, batch).await?;
        let mut job = StoredJob::for_document(stored, Job::new_queued(batch, JobKind::Batch, None, now));
        job.job.document_id = None;
        return insert_job(t, &job).await;
    };
    match is_open_batch(t, batch).await? && admits(&found.acl) {
        true => Ok(()),
        false => Err(CatalogueError::BatchTaken.into()),
    }
}

/// Inserts a job of a document.
pub async fn queue_job(
    t: &PostgresSession,
    stored: &StoredDocument,
    job: Job,
) -> Result<Job, PostgresTransactionError> {
    let mut row = StoredJob::for_document(stored, job);
    row.job.generation = draw_generation(t).await?;
    row.queue_sequence = last_sequence(t, row.acl.tenant.as_str(), &row.source).await?;
    insert_job(t, &row).await?;
    Ok(row.job)
}

/// Queues the published bytes for processing by another pipeline.
pub async fn queue_reingest(
    t: &PostgresSession,
    scope: &Scope,
    id: DocumentId,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, PostgresTransactionError> {
    let stored = load_document(t, id, RowLock::ForUpdate).await?;
    let published =
        |stored: &StoredDocument| is_visible(&stored.document, scope) && stored.document.published.is_some();
    let Some(stored) = stored.filter(published) else {
        return Ok(None);
    };
    let live = "select id from jobs where document = $1 and state in ('queued', 'running') limit 1";
    if t.query_first(live, &[&id.0]).await?.is_some() {
        return Ok(None);
    }
    reingest_published(t, stored, pipeline, job, now).await.map(Some)
}

/// Queues the published bytes of a document that has no active job.
pub async fn reingest_published(
    t: &PostgresSession,
    mut stored: StoredDocument,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Job, PostgresTransactionError> {
    rebuild_from_published(&mut stored, pipeline, now);
    update_document(t, &stored).await?;
    queue_job(t, &stored, Job::new_queued(job, JobKind::Ingest, None, now)).await
}

/// Applies a patch, which changes no bytes.
pub async fn patch_document(
    t: &PostgresSession,
    scope: &Scope,
    id: DocumentId,
    patch: DocumentPatch,
    now: OffsetDateTime,
) -> Result<Option<Document>, PostgresTransactionError> {
    let stored = load_document(t, id, RowLock::ForUpdate).await?;
    let Some(stored) = stored.filter(|stored| is_visible(&stored.document, scope)) else {
        return Ok(None);
    };
    patch.check_may_patch(scope, &stored.document)?;
    let mut changed = stored.clone();
    apply_patch(&mut changed, patch);
    if changed != stored {
        changed.document.updated_at = now;
        save_with_jobs(t, &changed).await?;
    }
    Ok(Some(changed.document))
}

/// Saves a document, and gives its jobs and attachments the same readers.
pub async fn save_with_jobs(t: &PostgresSession, stored: &StoredDocument) -> Result<(), PostgresTransactionError> {
    update_document(t, stored).await?;
    let acl = write_json(&stored.document.acl)?;
    t.execute_statement(
        "update jobs set acl = $1 where document = $2 and life = $3 and acl <> $1",
        &[&acl, &stored.document.id.0, &to_bigint(stored.incarnation)?],
    )
    .await?;
    update_attached_documents(t, &stored.document).await
}

/// Tombstones a document and queues a purge of all its data.
pub async fn tombstone_document(
    t: &PostgresSession,
    scope: &Scope,
    id: DocumentId,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, PostgresTransactionError> {
    let stored = load_document(t, id, RowLock::ForUpdate).await?;
    let Some(stored) = stored.filter(|stored| is_visible(&stored.document, scope)) else {
        return Ok(None);
    };
    check_writer(scope, &stored.document)?;
    tombstone_unchecked(t, stored, job, now).await.map(Some)
}

/// Tombstones a document whose row is locked, without a scope check.
pub async fn tombstone_unchecked(
    t: &PostgresSession,
    mut stored: StoredDocument,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Job, PostgresTransactionError> {
    let id = stored.document.id;
    cancel_ingests(t, id, now).await?;
    stored.document.status = DocumentStatus::Deleting;
    stored.document.updated_at = now;
    update_document(t, &stored).await?;
    let published = stored.document.published.unwrap_or(Generation(0));
    statistics::remove_generation(t, id, published).await?;
    delete_attachment_row(t, id).await?;
    // The purge removes everything before this generation: the incarnation that ends here.
    queue_job(t, &stored, Job::new_queued(job, JobKind::Purge, None, now)).await
}

/// Cancels the ingestions of a document. Purges of earlier incarnations continue: what they remove belongs to nothing
/// else.
pub async fn cancel_ingests(
    t: &PostgresSession,
    id: DocumentId,
    now: OffsetDateTime,
) -> Result<(), PostgresTransactionError> {
    t.execute_statement(
        "update jobs set state = 'cancelled', stage = 'done', updated_at = $2, rate = null, process = null,
         worker = null, holder = null, lease_until = null, due = 0, wait = null, wait_until = null
         where document = $1 and kind = 'ingest' and state in ('queued', 'running')",
        &[&id.0, &to_nanoseconds(now)?],
    )
    .await
    .map(drop)
}
