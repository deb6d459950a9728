//! Writes that a caller asks for: a new version, a changed document, a deletion.
//!
//! Invariant: whoever writes a document or a job of it holds the document's row first, then rows of jobs, then the batch,
//! then the lane; so no two of them wait for each other.

use ragstone_core::access::{Acl, Scope};
use ragstone_core::document::{Document, DocumentStatus, Job, JobKind};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::catalogue::{Begun, CatalogueError, DocumentPatch, NewVersion, check_writer};
use time::OffsetDateTime;

use super::attachments::{forget, hand_down};
use super::database::Session;
use super::error::Failure;
use super::job_row::{insert_batch, insert_job, is_open_batch, job};
use super::queue::last_place;
use super::row::{Hold, document, draw_generation, insert_document, plain, update_document, whole};
use super::statistics;
use crate::catalogue::stored::{StoredDocument, StoredJob};
use crate::catalogue::value::{nanoseconds, write_json};
use crate::catalogue::version::{
    Amendments, amended, amendments, apply, born, holds, is_visible, make_of_published, renewed,
};

/// Writes a version and its job, or finds that there is nothing to do.
pub async fn begin(
    t: &Session,
    scope: &Scope,
    version: &NewVersion,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    let id = version.document_id();
    let version = kept(version);
    let found = document(t, id, Hold::Row).await?;
    let living = found
        .as_ref()
        .filter(|stored| stored.document.status != DocumentStatus::Deleting);
    version.check_over(scope, living.map(|stored| &stored.document))?;
    put(t, &|acl: &Acl| scope.admits(acl), (id, found), version, job, now).await
}

/// Writes a version over what its row holds, which is held; `admits` says whose batches it may join.
pub async fn put(
    t: &Session,
    admits: &(dyn Fn(&Acl) -> bool + Sync),
    (id, found): (DocumentId, Option<StoredDocument>),
    version: NewVersion,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    let has_row = found.is_some();
    let living = found.filter(|stored| stored.document.status != DocumentStatus::Deleting);
    let batch = version.batch;
    let mut stored = match living {
        Some(stored) if holds(&stored, &version) => return update(t, stored, amendments(version), now).await,
        Some(stored) => {
            cancel_ingests(t, id, now).await?;
            renewed(stored, version, now)
        }
        None => born(version, draw_generation(t).await?.0, now),
    };
    stored.document.id = id;
    stored.name_it();
    if let Some(batch) = batch {
        join(t, admits, &stored, batch, now).await?;
    }
    match has_row {
        true => save_with_jobs(t, &stored).await?,
        false => insert_document(t, &stored).await?,
    }
    let job = queue(t, &stored, Job::queued(job, JobKind::Ingest, batch, now)).await?;
    Ok(Begun::Started(stored.document, job))
}

/// The version as the rows will have it, so that the same one is the same when it comes again.
pub fn kept(version: &NewVersion) -> NewVersion {
    let kept = |text: &Option<String>| text.as_deref().map(plain);
    NewVersion {
        uri: plain(&version.uri),
        name: plain(&version.name),
        title: kept(&version.title),
        declared_media_type: kept(&version.declared_media_type),
        brought_by: kept(&version.brought_by),
        department_id: kept(&version.department_id),
        incoming: plain(&version.incoming),
        pipeline: plain(&version.pipeline),
        ..version.clone()
    }
}

async fn update(
    t: &Session,
    stored: StoredDocument,
    amendments: Amendments,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    let mut changed = amended(&stored, amendments);
    if changed == stored {
        return Ok(Begun::Unchanged(stored.document));
    }
    changed.document.updated_at = now;
    save_with_jobs(t, &changed).await?;
    Ok(Begun::Updated(changed.document))
}

/// Finds the batch, or begins it.
async fn join(
    t: &Session,
    admits: &(dyn Fn(&Acl) -> bool + Sync),
    stored: &StoredDocument,
    batch: JobId,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let Some(found) = job(t, batch, Hold::No).await? else {
        insert_batch(t, batch).await?;
        let mut job = StoredJob::of(stored, Job::queued(batch, JobKind::Batch, None, now));
        job.job.document_id = None;
        return insert_job(t, &job).await;
    };
    match is_open_batch(t, batch).await? && admits(&found.acl) {
        true => Ok(()),
        false => Err(CatalogueError::BatchTaken.into()),
    }
}

/// Writes a job of a document.
pub async fn queue(t: &Session, stored: &StoredDocument, job: Job) -> Result<Job, Failure> {
    let mut row = StoredJob::of(stored, job);
    row.job.generation = draw_generation(t).await?;
    row.place = last_place(t, row.acl.tenant.as_str(), &row.source).await?;
    insert_job(t, &row).await?;
    Ok(row.job)
}

/// Queues a version of the published bytes for another pipeline.
pub async fn reingest(
    t: &Session,
    scope: &Scope,
    id: DocumentId,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, Failure> {
    let stored = document(t, id, Hold::Row).await?;
    let published =
        |stored: &StoredDocument| is_visible(&stored.document, scope) && stored.document.published.is_some();
    let Some(stored) = stored.filter(published) else {
        return Ok(None);
    };
    let live = "select id from jobs where document = $1 and state in ('queued', 'running') limit 1";
    if t.first(live, &[&id.0]).await?.is_some() {
        return Ok(None);
    }
    make_again(t, stored, pipeline, job, now).await.map(Some)
}

/// Queues a version of the published bytes of a document that has no live job.
pub async fn make_again(
    t: &Session,
    mut stored: StoredDocument,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Job, Failure> {
    make_of_published(&mut stored, pipeline, now);
    update_document(t, &stored).await?;
    queue(t, &stored, Job::queued(job, JobKind::Ingest, None, now)).await
}

/// Changes what touches no bytes.
pub async fn patch(
    t: &Session,
    scope: &Scope,
    id: DocumentId,
    patch: DocumentPatch,
    now: OffsetDateTime,
) -> Result<Option<Document>, Failure> {
    let stored = document(t, id, Hold::Row).await?;
    let Some(stored) = stored.filter(|stored| is_visible(&stored.document, scope)) else {
        return Ok(None);
    };
    patch.check_over(scope, &stored.document)?;
    let mut changed = stored.clone();
    apply(&mut changed, patch);
    if changed != stored {
        changed.document.updated_at = now;
        save_with_jobs(t, &changed).await?;
    }
    Ok(Some(changed.document))
}

/// A document's jobs are seen by whom the document is seen, and so is what is attached to it.
pub async fn save_with_jobs(t: &Session, stored: &StoredDocument) -> Result<(), Failure> {
    update_document(t, stored).await?;
    let acl = write_json(&stored.document.acl)?;
    t.run(
        "update jobs set acl = $1 where document = $2 and life = $3 and acl <> $1",
        &[&acl, &stored.document.id.0, &whole(stored.life)?],
    )
    .await?;
    hand_down(t, &stored.document).await
}

/// Tombstones a document and queues the purge of everything it has.
pub async fn tombstone(
    t: &Session,
    scope: &Scope,
    id: DocumentId,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, Failure> {
    let stored = document(t, id, Hold::Row).await?;
    let Some(stored) = stored.filter(|stored| is_visible(&stored.document, scope)) else {
        return Ok(None);
    };
    check_writer(scope, &stored.document)?;
    bury(t, stored, job, now).await.map(Some)
}

/// Tombstones a document whose row is held.
pub async fn bury(t: &Session, mut stored: StoredDocument, job: JobId, now: OffsetDateTime) -> Result<Job, Failure> {
    let id = stored.document.id;
    cancel_ingests(t, id, now).await?;
    stored.document.status = DocumentStatus::Deleting;
    stored.document.updated_at = now;
    update_document(t, &stored).await?;
    let published = stored.document.published.unwrap_or(Generation(0));
    statistics::withdraw(t, id, published).await?;
    forget(t, id).await?;
    // Everything before this generation is the life that ends here.
    queue(t, &stored, Job::queued(job, JobKind::Purge, None, now)).await
}

/// Purges of earlier lives go on: what they remove is nobody else's.
pub async fn cancel_ingests(t: &Session, id: DocumentId, now: OffsetDateTime) -> Result<(), Failure> {
    t.run(
        "update jobs set state = 'cancelled', stage = 'done', updated_at = $2, rate = null, process = null,
         worker = null, holder = null, lease_until = null, due = 0, wait = null, wait_until = null
         where document = $1 and kind = 'ingest' and state in ('queued', 'running')",
        &[&id.0, &nanoseconds(now)?],
    )
    .await
    .map(drop)
}
