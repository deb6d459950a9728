//! Attachments: which documents belong to which mail.

use async_trait::async_trait;
use ragstone_core::document::{Document, DocumentStatus, Job, SourceUrl};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::attachments::{AttachedDocument, AttachmentStore, NewAttachment};
use ragstone_core::seam::catalogue::{BeginOutcome, CatalogueError, CatalogueResult, JobLease};
use rusqlite::{Connection, OptionalExtension, params};
use time::OffsetDateTime;

use super::begin::{tombstone_unchecked, write_version};
use super::lease::{load_leased_document, load_leased_job};
use super::row::StoredDocument;
use super::statistics::StatisticsChange;
use super::{SqliteCatalogue, SqliteTransactionError};
use crate::catalogue::value::{to_nanoseconds, write_json};
use crate::sqlite::Durability;

/// All documents in a mail, at any depth.
const WITHIN: &str = "with recursive within (id) as (
    select document from attachments where mail = ?1
    union select a.document from attachments a join within on a.mail = within.id)";

#[async_trait]
impl AttachmentStore for SqliteCatalogue {
    async fn begin_attachment(
        &self,
        lease: &JobLease,
        attachment: NewAttachment,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome> {
        let lease = lease.clone();
        self.run_write(Durability::Synced, move |t| {
            begin_attachment(t, &lease, attachment, job, now)
        })
        .await
    }

    async fn list_attachments(&self, document: DocumentId) -> CatalogueResult<Vec<AttachedDocument>> {
        self.run_read(move |c| list_attachments(c, document)).await
    }

    async fn remove_attachment(
        &self,
        lease: &JobLease,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let lease = lease.clone();
        self.run_statistics_write(move |t, changes| remove_attachment(t, changes, &lease, document, job, now))
            .await
    }
}

fn begin_attachment(
    t: &Connection,
    lease: &JobLease,
    attachment: NewAttachment,
    job: JobId,
    now: OffsetDateTime,
) -> Result<BeginOutcome, SqliteTransactionError> {
    let held = load_leased_job(t, lease)?;
    let mail = load_leased_document(t, &held)?.document;
    if mail.status == DocumentStatus::Deleting {
        return Err(CatalogueError::Stale.into());
    }
    let version = attachment.into_new_version(&mail, held.job.parent);
    let id = version.document_id();
    let living = StoredDocument::load_document(t, id)?;
    let living = living.filter(|stored| stored.document.status != DocumentStatus::Deleting);
    let is_attached = last_mail_generation(t, id, mail.id)?.is_some();
    let foreign = |stored: &StoredDocument| !is_attached && stored.document.acl != mail.acl;
    if living.as_ref().is_some_and(foreign) {
        return Err(CatalogueError::UriTaken.into());
    }
    let begun = write_version(t, &|_| true, living, version, job, now)?;
    t.prepare_cached("insert or replace into attachments (document, mail, brought) values (?1, ?2, ?3)")?
        .execute(params![id.0, mail.id.0, lease.generation.0])?;
    Ok(begun)
}

fn list_attachments(c: &Connection, document: DocumentId) -> Result<Vec<AttachedDocument>, SqliteTransactionError> {
    let mut statement =
        c.prepare_cached("select document, brought from attachments where mail = ?1 order by document")?;
    let mut rows = statement.query([document.0])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(AttachedDocument {
            document: DocumentId(row.get(0)?),
            mail_generation: Generation(row.get(1)?),
        });
    }
    Ok(all)
}

fn remove_attachment(
    t: &Connection,
    changes: &mut Vec<StatisticsChange>,
    lease: &JobLease,
    document: DocumentId,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, SqliteTransactionError> {
    load_leased_job(t, lease)?;
    if last_mail_generation(t, document, lease.document)?.is_none_or(|by| by >= lease.generation) {
        return Ok(None);
    }
    match StoredDocument::load_document(t, document)? {
        Some(stored) => tombstone_unchecked(t, changes, stored, job, now).map(Some),
        None => Ok(None),
    }
}

/// Generation of `mail` that last contained `document`.
fn last_mail_generation(
    t: &Connection,
    document: DocumentId,
    mail: DocumentId,
) -> Result<Option<Generation>, SqliteTransactionError> {
    let found = t
        .prepare_cached("select brought from attachments where document = ?1 and mail = ?2")?
        .query_row(params![document.0, mail.0], |row| row.get(0))
        .optional()?;
    Ok(found.map(Generation))
}

/// Deletes the attachment row of a document that is tombstoned.
pub fn delete_attachment_row(t: &Connection, document: DocumentId) -> Result<(), SqliteTransactionError> {
    t.prepare_cached("delete from attachments where document = ?1")?
        .execute([document.0])?;
    Ok(())
}

/// Copies a mail's ACL, metadata, department and source URL to everything in it, at any depth.
pub fn update_attached_documents(t: &Connection, mail: &Document) -> Result<(), SqliteTransactionError> {
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
        to_nanoseconds(mail.updated_at)?
    ])?;
    t.prepare_cached(&format!(
        "{WITHIN} update jobs set acl = ?2 where document in (select id from within) and acl <> ?2
           and life = (select life from documents where id = jobs.document)"
    ))?
    .execute(params![mail.id.0, acl])?;
    Ok(())
}
