//! Writes that a caller asks for: a new version, a changed document, a deletion.

use ragstone_core::access::Scope;
use ragstone_core::document::{Document, DocumentStatus, Job, JobKind};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::catalogue::{Begun, CatalogueError, Course, DocumentPatch, NewVersion};
use rusqlite::{Connection, params};
use time::OffsetDateTime;

use super::Failure;
use super::documents::is_visible;
use super::job_row::{Batch, StoredJob};
use super::queue::last_place;
use super::row::{Newest, StoredDocument, draw_generation, nanoseconds, write_json};
use super::statistics::{self, Change};

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
    let foreign = |stored: &StoredDocument| !scope.admits(&stored.document.acl);
    if version.acl.tenant != *scope.tenant() || living.as_ref().is_some_and(foreign) {
        return Err(CatalogueError::UriTaken.into());
    }
    match living {
        Some(stored) if holds(&stored, &version) => update(t, stored, amendments(version), now),
        Some(stored) => {
            let batch = version.batch;
            cancel_ingests(t, id, now)?;
            start(t, scope, renewed(stored, version, now), batch, job, now)
        }
        None => {
            let (life, batch) = (draw_generation(t)?.0, version.batch);
            start(t, scope, born(version, life, now), batch, job, now)
        }
    }
}

/// Whether the newest begin already has, or is getting, what `version` would make.
fn holds(stored: &StoredDocument, version: &NewVersion) -> bool {
    stored.newest != Newest::Failed
        && stored.document.content_hash == version.content_hash
        && stored.name == version.name
        && stored.pipeline == version.pipeline
}

/// What an upload says about a document beside its bytes, as a patch. The title may also be taken away again.
struct Amendments {
    given_title: Option<String>,
    patch: DocumentPatch,
}

fn amendments(version: NewVersion) -> Amendments {
    Amendments {
        given_title: version.title,
        patch: DocumentPatch {
            title: None,
            metadata: Some(version.metadata),
            acl: Some(version.acl),
            department_id: Some(version.department_id),
            source_url: Some(version.source_url),
        },
    }
}

fn update(
    t: &Connection,
    stored: StoredDocument,
    amendments: Amendments,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    let mut changed = stored.clone();
    changed.given_title = amendments.given_title;
    apply(&mut changed, amendments.patch);
    if changed == stored {
        return Ok(Begun::Unchanged(stored.document));
    }
    changed.document.updated_at = now;
    save_with_jobs(t, &changed)?;
    Ok(Begun::Updated(changed.document))
}

/// The first version of a URI, or the first after its deletion.
fn born(version: NewVersion, life: u64, now: OffsetDateTime) -> StoredDocument {
    StoredDocument {
        document: version.document(now),
        life,
        newest: Newest::Pending,
        published_title: None,
        published_pipeline: None,
        published_file: None,
        name: version.name,
        given_title: version.title,
        declared_media_type: version.declared_media_type,
        incoming: version.incoming,
        stored: None,
        pipeline: version.pipeline,
    }
}

/// The next version of a living document; the published one goes on answering until this one is.
fn renewed(mut stored: StoredDocument, version: NewVersion, now: OffsetDateTime) -> StoredDocument {
    version.renew(&mut stored.document, now);
    stored.newest = Newest::Pending;
    stored.name.clone_from(&version.name);
    stored
        .declared_media_type
        .clone_from(&version.declared_media_type);
    stored.incoming.clone_from(&version.incoming);
    stored.stored = None;
    stored.pipeline.clone_from(&version.pipeline);
    let amendments = amendments(version);
    stored.given_title = amendments.given_title;
    apply(&mut stored, amendments.patch);
    stored
}

fn start(
    t: &Connection,
    scope: &Scope,
    mut stored: StoredDocument,
    batch: Option<JobId>,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    stored.name_it();
    if let Some(batch) = batch {
        join(t, scope, &stored, batch, now)?;
    }
    save_with_jobs(t, &stored)?;
    let job = queue(t, &stored, Job::queued(job, JobKind::Ingest, batch, now))?;
    Ok(Begun::Started(stored.document, job))
}

/// Finds the batch, or begins it.
fn join(
    t: &Connection,
    scope: &Scope,
    stored: &StoredDocument,
    batch: JobId,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let Some(found) = StoredJob::load(t, batch)? else {
        Batch::insert(t, batch)?;
        let mut job = row_of(stored, Job::queued(batch, JobKind::Batch, None, now));
        job.job.document_id = None;
        return job.insert(t);
    };
    let is_open = Batch::load(t, batch)?.is_some_and(|batch| !batch.stopped);
    match is_open && scope.admits(&found.acl) {
        true => Ok(()),
        false => Err(CatalogueError::BatchTaken.into()),
    }
}

fn row_of(stored: &StoredDocument, job: Job) -> StoredJob {
    StoredJob {
        job: Job {
            document_id: Some(stored.document.id),
            ..job
        },
        course: Course::default(),
        life: stored.life,
        source: stored.document.source.to_string(),
        acl: stored.document.acl.clone(),
        place: 0,
    }
}

/// Writes a job of a document.
pub fn queue(t: &Connection, stored: &StoredDocument, job: Job) -> Result<Job, Failure> {
    let mut row = row_of(stored, job);
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
    stored.take_published_file();
    stored.stored = stored.document.published;
    stored.newest = Newest::Pending;
    stored.pipeline = pipeline.to_owned();
    stored.document.updated_at = now;
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
    if patch
        .acl
        .as_ref()
        .is_some_and(|acl| acl.tenant != *scope.tenant())
    {
        return Err(CatalogueError::UriTaken.into());
    }
    let mut changed = stored.clone();
    apply(&mut changed, patch);
    if changed != stored {
        changed.document.updated_at = now;
        save_with_jobs(t, &changed)?;
    }
    Ok(Some(changed.document))
}

fn apply(stored: &mut StoredDocument, patch: DocumentPatch) {
    let document = &mut stored.document;
    if let Some(acl) = patch.acl.filter(|acl| *acl != document.acl) {
        document.acl = acl;
        document.acl_revision += 1;
    }
    if let Some(metadata) = patch.metadata {
        document.metadata = metadata;
    }
    if let Some(department_id) = patch.department_id {
        document.department_id = department_id;
    }
    if let Some(source_url) = patch.source_url {
        document.source_url = source_url;
    }
    if patch.title.is_some() {
        stored.given_title = patch.title;
    }
    stored.name_it();
}

/// A document's jobs are seen by whom the document is seen.
fn save_with_jobs(t: &Connection, stored: &StoredDocument) -> Result<(), Failure> {
    stored.save(t)?;
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
    let Some(mut stored) = stored.filter(|stored| is_visible(&stored.document, scope)) else {
        return Ok(None);
    };
    cancel_ingests(t, id, now)?;
    stored.document.status = DocumentStatus::Deleting;
    stored.document.updated_at = now;
    stored.save(t)?;
    let published = stored.document.published.unwrap_or(Generation(0));
    changes.extend(statistics::withdraw(t, id, published)?);
    // Everything before this generation is the life that ends here.
    queue(t, &stored, Job::queued(job, JobKind::Purge, None, now)).map(Some)
}

/// Purges of earlier lives go on: what they remove is nobody else's.
fn cancel_ingests(t: &Connection, id: DocumentId, now: OffsetDateTime) -> Result<(), Failure> {
    t.prepare_cached(
        "update jobs set state = 'cancelled', stage = 'done', updated_at = ?2, rate = null, process = null,
         worker = null, lease_until = null, due = 0, wait = null, wait_until = null
         where document = ?1 and kind = 'ingest' and state in ('queued', 'running')",
    )?
    .execute(params![id.0, nanoseconds(now)?])?;
    Ok(())
}
