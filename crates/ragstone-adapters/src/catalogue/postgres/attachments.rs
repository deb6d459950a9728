//! What is attached to what.
//!
//! Invariant: a mail's row is held before the rows of what is in it, so no two transactions wait for each other.

use async_trait::async_trait;
use ragstone_core::document::{Document, DocumentStatus, Job, SourceUrl};
use ragstone_core::id::{DocumentId, Generation, JobId};
use ragstone_core::seam::attachments::{Attached, Attachment, Attachments};
use ragstone_core::seam::catalogue::{Begun, CatalogueError, CatalogueResult, Lease};
use time::OffsetDateTime;

use super::PostgresCatalogue;
use super::begin::{bury, kept, put};
use super::database::{Mode, Session, transact};
use super::error::Failure;
use super::lease::{leased, of_its_life, stale};
use super::row::{Hold, document, get, number, plain, whole};
use crate::catalogue::value::{nanoseconds, write_json};

/// Everything in a mail, at any depth.
const WITHIN: &str = "with recursive within (id) as (
    select document from attachments where mail = $1
    union select a.document from attachments a join within on a.mail = within.id)";

#[async_trait]
impl Attachments for PostgresCatalogue {
    async fn attach(
        &self,
        lease: &Lease,
        attachment: Attachment,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Begun> {
        let begun = transact!(self.database, Mode::Synced, |t| attach(
            &t,
            lease,
            attachment.clone(),
            job,
            now
        ))?;
        self.moved(1).await;
        Ok(begun)
    }

    async fn attached(&self, document: DocumentId) -> CatalogueResult<Vec<Attached>> {
        Ok(attached(&self.database.session().await?, document).await?)
    }

    async fn detach(
        &self,
        lease: &Lease,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let purge = transact!(self.database, Mode::Synced, |t| detach(&t, lease, document, job, now))?;
        self.statistics.noted(&self.database, 1).await;
        Ok(purge)
    }
}

async fn attach(
    t: &Session,
    lease: &Lease,
    attachment: Attachment,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Begun, Failure> {
    let found = document(t, lease.document, Hold::Row).await?;
    let held = leased(t, lease).await?;
    let mail = of_its_life(found, &held)?.document;
    if mail.status == DocumentStatus::Deleting {
        return Err(stale());
    }
    let version = attachment.version(&mail, held.job.parent);
    let id = version.document_id();
    let version = kept(&version);
    let found = document(t, id, Hold::Row).await?;
    let living = found
        .as_ref()
        .filter(|stored| stored.document.status != DocumentStatus::Deleting);
    let is_foreign = living.is_some_and(|stored| stored.document.acl != mail.acl);
    if is_foreign && brought(t, id, mail.id).await?.is_none() {
        return Err(CatalogueError::UriTaken.into());
    }
    let begun = put(t, &|_| true, (id, found), version, job, now).await?;
    t.run(
        "insert into attachments (document, mail, brought) values ($1, $2, $3)
         on conflict (document) do update set mail = $2, brought = $3",
        &[&id.0, &mail.id.0, &whole(lease.generation.0)?],
    )
    .await?;
    Ok(begun)
}

async fn attached(c: &Session, document: DocumentId) -> Result<Vec<Attached>, Failure> {
    let all = "select document, brought from attachments where mail = $1 order by document";
    let rows = c.all(all, &[&document.0]).await?;
    rows.iter()
        .map(|row| {
            Ok(Attached {
                document: DocumentId(get(row, "document")?),
                by: Generation(number(row, "brought")?),
            })
        })
        .collect()
}

async fn detach(
    t: &Session,
    lease: &Lease,
    id: DocumentId,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, Failure> {
    document(t, lease.document, Hold::Row).await?;
    leased(t, lease).await?;
    let found = document(t, id, Hold::Row).await?;
    if brought(t, id, lease.document)
        .await?
        .is_none_or(|by| by >= lease.generation)
    {
        return Ok(None);
    }
    match found {
        Some(stored) => bury(t, stored, job, now).await.map(Some),
        None => Ok(None),
    }
}

/// Which generation of `mail` brought `document` last.
async fn brought(t: &Session, document: DocumentId, mail: DocumentId) -> Result<Option<Generation>, Failure> {
    let last = "select brought from attachments where document = $1 and mail = $2";
    let row = t.first(last, &[&document.0, &mail.0]).await?;
    row.map(|row| Ok(Generation(number(&row, "brought")?))).transpose()
}

/// A tombstoned document is attached to nothing.
pub async fn forget(t: &Session, document: DocumentId) -> Result<(), Failure> {
    t.run("delete from attachments where document = $1", &[&document.0])
        .await
        .map(drop)
}

/// Gives everything in a mail what is the mail's own: its readers above all.
pub async fn hand_down(t: &Session, mail: &Document) -> Result<(), Failure> {
    let has = "select document from attachments where mail = $1 limit 1";
    if t.first(has, &[&mail.id.0]).await?.is_none() {
        return Ok(());
    }
    let acl = write_json(&mail.acl)?;
    let documents = format!(
        "{WITHIN} update documents set acl_revision = acl_revision + (acl <> $2)::int, acl = $2, metadata = $3,
           department_id = $4, source_url = $5, updated_at = $6
         where id in (select id from within) and status <> 'deleting'
           and (acl, metadata, department_id, source_url) is distinct from ($2, $3, $4, $5)"
    );
    t.run(
        &documents,
        &[
            &mail.id.0,
            &acl,
            &write_json(&mail.metadata)?,
            &mail.department_id.as_deref().map(plain),
            &mail.source_url.as_ref().map(SourceUrl::as_str),
            &nanoseconds(mail.updated_at)?,
        ],
    )
    .await?;
    let jobs = format!(
        "{WITHIN} update jobs set acl = $2 where document in (select id from within) and acl <> $2
           and life = (select life from documents where id = jobs.document)"
    );
    t.run(&jobs, &[&mail.id.0, &acl]).await.map(drop)
}
