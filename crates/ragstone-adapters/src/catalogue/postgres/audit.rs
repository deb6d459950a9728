//! Consistency scan: what the rows refer to, for `fsck` and the sweep.

use std::collections::HashMap;

use async_trait::async_trait;
use ragstone_core::document::{DocumentStatus, Job, JobKind};
use ragstone_core::id::{DocumentId, Generation, JobId, TenantId};
use ragstone_core::seam::audit::{ConsistencyScan, DocumentRefs, LiveJob};
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::manifest::RevisionStamp;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::PostgresCatalogue;
use super::begin::{queue_job, reingest_published};
use super::database::{PostgresSession, StatementValues, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::row::{RowLock, get_enum, get_name, get_number, get_uuid, get_value, load_document, optional_number};
use crate::catalogue::value::read_chunk_count;

const NAMED: &str = "select d.id, d.tenant, d.status, d.published, d.chunks, d.stored, d.incoming, d.given_title,
    d.acl_revision, d.updated_at,
    (select substring(s.delta from 1 for 8) from statistics s
     where s.document = d.id and s.generation = d.published) as counted
    from documents d";

type LiveJobsByDocument = HashMap<Uuid, Vec<LiveJob>>;

#[async_trait]
impl ConsistencyScan for PostgresCatalogue {
    async fn list_document_refs(&self, after: Option<DocumentId>, limit: usize) -> CatalogueResult<Vec<DocumentRefs>> {
        let after = after.map(|after| after.0);
        let query = format!("{NAMED} where $1::uuid is null or d.id > $1 order by d.id limit $2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values: StatementValues<'_> = &[&after, &limit];
        let documents = transact!(self.database, TransactionMode::Snapshot, |t| {
            load_document_refs(&t, &query, values)
        })?;
        Ok(documents)
    }

    async fn get_document_refs(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentRefs>> {
        let ids: Vec<Uuid> = documents.iter().map(|document| document.0).collect();
        let query = format!("{NAMED} where d.id = any($1)");
        let found = transact!(self.database, TransactionMode::Snapshot, |t| load_document_refs(
            &t,
            &query,
            &[&ids]
        ))?;
        let found: HashMap<_, _> = found.into_iter().map(|named| (named.document, named)).collect();
        Ok(documents.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    async fn queue_repair(
        &self,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            queue_repair(&t, document, pipeline, job, now)
        })?)
    }

    async fn find_miscounted_tenants(&self) -> CatalogueResult<Vec<TenantId>> {
        Ok(self.statistics.find_miscounted_tenants(&self.database).await?)
    }

    async fn recount_term_statistics(&self) -> CatalogueResult<()> {
        Ok(self.statistics.recount_totals(&self.database).await?)
    }

    async fn highest_generation(&self) -> CatalogueResult<Generation> {
        let session = self.database.open_session().await?;
        // `last_value` of an unused sequence is its first number, which was not drawn yet.
        let drawn = "select case when is_called then last_value else 0 end as drawn from generations";
        let row = session.query_one(drawn, &[]).await?;
        Ok(Generation(get_number(&row, "drawn")?))
    }
}

/// Reads rows and jobs in one snapshot: between two, a job could end, and what it published would look like an orphan.
async fn load_document_refs(
    t: &PostgresSession,
    query: &str,
    values: StatementValues<'_>,
) -> Result<Vec<DocumentRefs>, PostgresTransactionError> {
    let rows = t.query_all(query, values).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| get_uuid(row, "id")).collect::<Result<_, _>>()?;
    let mut jobs = load_live_jobs(t, &ids).await?;
    let named = |(row, id): (&Row, &Uuid)| read_document_refs(row, jobs.remove(id).unwrap_or_default());
    rows.iter().zip(&ids).map(named).collect()
}

fn read_document_refs(row: &Row, jobs: Vec<LiveJob>) -> Result<DocumentRefs, PostgresTransactionError> {
    let counted: Option<&[u8]> = get_value(row, "counted")?;
    Ok(DocumentRefs {
        document: DocumentId(get_uuid(row, "id")?),
        tenant: get_name(row, "tenant")?,
        status: get_enum(row, "status")?,
        published: optional_number(row, "published")?.map(Generation),
        chunks: get_number(row, "chunks")?,
        counted: counted.map(read_chunk_count).transpose()?,
        stored: optional_number(row, "stored")?.map(Generation),
        incoming: get_value(row, "incoming")?,
        given_title: get_value(row, "given_title")?,
        stamp: RevisionStamp {
            revision: get_number(row, "acl_revision")?,
            updated: i128::from(get_value::<i64>(row, "updated_at")?),
        },
        jobs,
    })
}

async fn load_live_jobs(
    t: &PostgresSession,
    documents: &[Uuid],
) -> Result<LiveJobsByDocument, PostgresTransactionError> {
    let rows = t
        .query_all(
            "select document, kind, generation from jobs
             where document = any($1) and state in ('queued', 'running') order by sequence",
            &[&documents],
        )
        .await?;
    let mut jobs = LiveJobsByDocument::new();
    for row in &rows {
        jobs.entry(get_uuid(row, "document")?).or_default().push(LiveJob {
            kind: get_enum(row, "kind")?,
            generation: Generation(get_number(row, "generation")?),
        });
    }
    Ok(jobs)
}

async fn queue_repair(
    t: &PostgresSession,
    id: DocumentId,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, PostgresTransactionError> {
    let Some(stored) = load_document(t, id, RowLock::ForUpdate).await? else {
        return Ok(None);
    };
    if !load_live_jobs(t, &[id.0]).await?.is_empty() {
        return Ok(None);
    }
    let again = match stored.document.status {
        DocumentStatus::Deleting => queue_job(t, &stored, Job::new_queued(job, JobKind::Purge, None, now)).await?,
        _ if stored.document.published.is_none() => return Ok(None),
        _ => reingest_published(t, stored, pipeline, job, now).await?,
    };
    Ok(Some(again))
}
