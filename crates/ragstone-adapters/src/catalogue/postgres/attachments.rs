//! Attachments: which documents belong to which mail.
//!
//! Invariant: a mail's row is locked before the rows of its attachments, so two transactions cannot deadlock.

use async_trait::async_trait;
use ragstone_core::document::{Document, DocumentStatus, Job, SourceUrl};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::attachments::{AttachedDocument, AttachmentStore, NewAttachment};
use ragstone_core::seam::catalogue::{BeginOutcome, CatalogueError, CatalogueResult, JobLease};
use time::OffsetDateTime;

use super::PostgresCatalogue;
use super::begin::{storable_version, tombstone_unchecked, write_version};
use super::database::{PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::lease::{check_incarnation, lock_leased_job, stale_lease_error};
use super::row::{RowLock, get_number, get_value, load_document, to_bigint, without_nul};
use crate::catalogue::value::{to_nanoseconds, write_json};

/// All documents in a mail, at any depth.
const WITHIN: &str = "with recursive within (id) as (
    select document from attachments where mail = $1
    union select a.document from attachments a join within on a.mail = within.id)";

#[async_trait]
impl AttachmentStore for PostgresCatalogue {
    async fn begin_attachment(
        &self,
        lease: &JobLease,
        attachment: NewAttachment,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome> {
        let begun = transact!(self.database, TransactionMode::Synced, |t| begin_attachment(
            &t,
            lease,
            attachment.clone(),
            job,
            now
        ))?;
        self.note_job_changes(1).await;
        Ok(begun)
    }

    async fn list_attachments(&self, document: DocumentId) -> CatalogueResult<Vec<AttachedDocument>> {
        Ok(list_attachments(&self.database.open_session().await?, document).await?)
    }

    async fn remove_attachment(
        &self,
        lease: &JobLease,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let purge = transact!(self.database, TransactionMode::Synced, |t| remove_attachment(
            &t, lease, document, job, now
        ))?;
        self.statistics.note_changes(&self.database, 1).await;
        Ok(purge)
    }
}

async fn begin_attachment(
    t: &PostgresSession,
    lease: &JobLease,
    attachment: NewAttachment,
    job: JobId,
    now: OffsetDateTime,
) -> Result<BeginOutcome, PostgresTransactionError> {
    let found = load_document(t, lease.document, RowLock::ForUpdate).await?;
    let held = lock_leased_job(t, lease).await?;
    let mail = check_incarnation(found, &held)?.document;
    if mail.status == DocumentStatus::Deleting {
        return Err(stale_lease_error());
    }
    let version = attachment.into_new_version(&mail, held.job.parent);
    let id = version.document_id();
    let version = storable_version(&version);
    let found = load_document(t, id, RowLock::ForUpdate).await?;
    let living = found
        .as_ref()
        .filter(|stored| stored.document.status != DocumentStatus::Deleting);
    let is_foreign = living.is_some_and(|stored| stored.document.acl != mail.acl);
    if is_foreign && last_mail_generation(t, id, mail.id).await?.is_none() {
        return Err(CatalogueError::UriTaken.into());
    }
    let begun = write_version(t, &|_| true, (id, found), version, job, now).await?;
    t.execute_statement(
        "insert into attachments (document, mail, brought) values ($1, $2, $3)
         on conflict (document) do update set mail = $2, brought = $3",
        &[&id.0, &mail.id.0, &to_bigint(lease.generation.0)?],
    )
    .await?;
    Ok(begun)
}

async fn list_attachments(
    c: &PostgresSession,
    document: DocumentId,
) -> Result<Vec<AttachedDocument>, PostgresTransactionError> {
    let all = "select document, brought from attachments where mail = $1 order by document";
    let rows = c.query_all(all, &[&document.0]).await?;
    rows.iter()
        .map(|row| {
            Ok(AttachedDocument {
                document: DocumentId(get_value(row, "document")?),
                mail_generation: Generation(get_number(row, "brought")?),
            })
        })
        .collect()
}

async fn remove_attachment(
    t: &PostgresSession,
    lease: &JobLease,
    id: DocumentId,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, PostgresTransactionError> {
    load_document(t, lease.document, RowLock::ForUpdate).await?;
    lock_leased_job(t, lease).await?;
    let found = load_document(t, id, RowLock::ForUpdate).await?;
    if last_mail_generation(t, id, lease.document)
        .await?
        .is_none_or(|by| by >= lease.generation)
    {
        return Ok(None);
    }
    match found {
        Some(stored) => tombstone_unchecked(t, stored, job, now).await.map(Some),
        None => Ok(None),
    }
}

/// Generation of `mail` that last contained `document`.
async fn last_mail_generation(
    t: &PostgresSession,
    document: DocumentId,
    mail: DocumentId,
) -> Result<Option<Generation>, PostgresTransactionError> {
    let last = "select brought from attachments where document = $1 and mail = $2";
    let row = t.query_first(last, &[&document.0, &mail.0]).await?;
    row.map(|row| Ok(Generation(get_number(&row, "brought")?))).transpose()
}

/// Deletes the attachment row of a document that is tombstoned.
pub async fn delete_attachment_row(t: &PostgresSession, document: DocumentId) -> Result<(), PostgresTransactionError> {
    t.execute_statement("delete from attachments where document = $1", &[&document.0])
        .await
        .map(drop)
}

/// Copies a mail's ACL, metadata, department and source URL to everything in it, at any depth.
pub async fn update_attached_documents(t: &PostgresSession, mail: &Document) -> Result<(), PostgresTransactionError> {
    let has = "select document from attachments where mail = $1 limit 1";
    if t.query_first(has, &[&mail.id.0]).await?.is_none() {
        return Ok(());
    }
    let acl = write_json(&mail.acl)?;
    let documents = format!(
        "{WITHIN} update documents set acl_revision = acl_revision + (acl <> $2)::int, acl = $2, metadata = $3,
           department_id = $4, source_url = $5, updated_at = $6
         where id in (select id from within) and status <> 'deleting'
           and (acl, metadata, department_id, source_url) is distinct from ($2, $3, $4, $5)"
    );
    t.execute_statement(
        &documents,
        &[
            &mail.id.0,
            &acl,
            &write_json(&mail.metadata)?,
            &mail.department_id.as_deref().map(without_nul),
            &mail.source_url.as_ref().map(SourceUrl::as_str),
            &to_nanoseconds(mail.updated_at)?,
        ],
    )
    .await?;
    let jobs = format!(
        "{WITHIN} update jobs set acl = $2 where document in (select id from within) and acl <> $2
           and life = (select life from documents where id = jobs.document)"
    );
    t.execute_statement(&jobs, &[&mail.id.0, &acl]).await.map(drop)
}
