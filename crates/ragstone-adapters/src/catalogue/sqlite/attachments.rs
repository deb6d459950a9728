//! What is attached to what.

use async_trait::async_trait;
use ragstone_core::document::{Document, DocumentStatus, Job, SourceUrl};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::attachments::{Attached, Attachment, Attachments};
use ragstone_core::seam::catalogue::{Begun, CatalogueError, CatalogueResult, Lease};
use rusqlite::{Connection, OptionalExtension, params};
use time::OffsetDateTime;

use super::begin::{bury, put};
use super::lease::{document_of, leased};
use super::row::StoredDocument;
use super::statistics::Change;
use super::{Failure, SqliteCatalogue};
use crate::catalogue::value::{nanoseconds, write_json};
use crate::sqlite::Durability;

/// Everything in a mail, at any depth.
const WITHIN: &str = "with recursive within (id) as (
    select document from attachments where mail = ?1
    union select a.document from attachments a join within on a.mail = within.id)";

#[async_trait]
impl Attachments for SqliteCatalogue {
    async fn attach(
        &self,
        lease: &Lease,
        attachment: Attachment,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Begun> {
        let lease = lease.clone();
        self.write(Durability::Synced, move |t| attach(t, &lease, attachment, job, now))
            .await
    }

    async fn attached(&self, document: DocumentId) -> CatalogueResult<Vec<Attached>> {
        self.read(move |c| attached(c, document)).await
    }

    async fn detach(
        &self,
        lease: &Lease,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let lease = lease.clone();
        self.write_counted(move |t, changes| detach(t, changes, &lease, document, job, now))
            .await
    }
}

fn attach(
    t: &Connection,
    lease: &Lease,
    attachment: Attachment,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    let held = leased(t, lease)?;
    let mail = document_of(t, &held)?.document;
    if mail.status == DocumentStatus::Deleting {
        return Err(CatalogueError::Stale.into());
    }
    let version = attachment.version(&mail, held.job.parent);
    let id = version.document_id();
    let living = StoredDocument::load(t, id)?;
    let living = living.filter(|stored| stored.document.status != DocumentStatus::Deleting);
    let is_attached = brought(t, id, mail.id)?.is_some();
    let foreign = |stored: &StoredDocument| !is_attached && stored.document.acl != mail.acl;
    if living.as_ref().is_some_and(foreign) {
        return Err(CatalogueError::UriTaken.into());
    }
    let begun = put(t, &|_| true, living, version, job, now)?;
    t.prepare_cached("insert or replace into attachments (document, mail, brought) values (?1, ?2, ?3)")?
        .execute(params![id.0, mail.id.0, lease.generation.0])?;
    Ok(begun)
}

fn attached(c: &Connection, document: DocumentId) -> Result<Vec<Attached>, Failure> {
    let mut statement =
        c.prepare_cached("select document, brought from attachments where mail = ?1 order by document")?;
    let mut rows = statement.query([document.0])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(Attached {
            document: DocumentId(row.get(0)?),
            by: Generation(row.get(1)?),
        });
    }
    Ok(all)
}

fn detach(
    t: &Connection,
    changes: &mut Vec<Change>,
    lease: &Lease,
    document: DocumentId,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, Failure> {
    leased(t, lease)?;
    if brought(t, document, lease.document)?.is_none_or(|by| by >= lease.generation) {
        return Ok(None);
    }
    match StoredDocument::load(t, document)? {
        Some(stored) => bury(t, changes, stored, job, now).map(Some),
        None => Ok(None),
    }
}

/// Which generation of `mail` brought `document` last.
fn brought(t: &Connection, document: DocumentId, mail: DocumentId) -> Result<Option<Generation>, Failure> {
    let found = t
        .prepare_cached("select brought from attachments where document = ?1 and mail = ?2")?
        .query_row(params![document.0, mail.0], |row| row.get(0))
        .optional()?;
    Ok(found.map(Generation))
}

/// A tombstoned document is attached to nothing.
pub fn forget(t: &Connection, document: DocumentId) -> Result<(), Failure> {
    t.prepare_cached("delete from attachments where document = ?1")?
        .execute([document.0])?;
    Ok(())
}

/// Gives everything in a mail what is the mail's own: its readers above all.
pub fn hand_down(t: &Connection, mail: &Document) -> Result<(), Failure> {
    let has = "select exists (select 1 from attachments where mail = ?1)";
    if !t
        .prepare_cached(has)?
        .query_row([mail.id.0], |row| row.get::<_, bool>(0))?
    {
        return Ok(());
    }
    let acl = write_json(&mail.acl)?;
    t.prepare_cached(&format!(
        "{WITHIN} update documents set acl_revision = acl_revision + (acl <> ?2), acl = ?2, metadata = ?3,
           department_id = ?4, source_url = ?5, updated_at = ?6
         where id in (select id from within) and status <> 'deleting'
           and (acl, metadata, ifnull(department_id, ''), ifnull(source_url, ''))
             <> (?2, ?3, ifnull(?4, ''), ifnull(?5, ''))"
    ))?
    .execute(params![
        mail.id.0,
        acl,
        write_json(&mail.metadata)?,
        mail.department_id,
        mail.source_url.as_ref().map(SourceUrl::as_str),
        nanoseconds(mail.updated_at)?
    ])?;
    t.prepare_cached(&format!(
        "{WITHIN} update jobs set acl = ?2 where document in (select id from within) and acl <> ?2
           and life = (select life from documents where id = jobs.document)"
    ))?
    .execute(params![mail.id.0, acl])?;
    Ok(())
}
