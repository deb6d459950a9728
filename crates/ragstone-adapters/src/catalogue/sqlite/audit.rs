//! Consistency scan: what the rows refer to, for `fsck` and the sweep.

use async_trait::async_trait;
use ragstone_core::document::{DocumentStatus, Job, JobKind};
use ragstone_core::id::{DocumentId, Generation, JobId, TenantId};
use ragstone_core::seam::audit::{ConsistencyScan, DocumentRefs, LiveJob};
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::manifest::RevisionStamp;
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use super::begin::{queue_job, reingest_published};
use super::row::{StoredDocument, get_enum, get_name};
use super::{SqliteCatalogue, SqliteTransactionError};
use crate::catalogue::value::read_chunk_count;
use crate::sqlite::{Durability, run_blocking};

/// Documents with their references. The first eight bytes of a delta are its number of chunks.
const NAMED: &str = "select d.id, d.tenant, d.status, d.published, d.chunks, d.stored, d.incoming, d.given_title,
    d.acl_revision, d.updated_at,
    (select substr(s.delta, 1, 8) from statistics s where s.document = d.id and s.generation = d.published) as counted
    from documents d";

#[async_trait]
impl ConsistencyScan for SqliteCatalogue {
    async fn list_document_refs(&self, after: Option<DocumentId>, limit: usize) -> CatalogueResult<Vec<DocumentRefs>> {
        self.run_read(move |c| {
            let after = after.map_or(Vec::new(), |after| after.0.as_bytes().to_vec());
            let mut statement = c.prepare_cached(&format!("{NAMED} where d.id > ?1 order by d.id limit ?2"))?;
            let mut rows = statement.query(params![after, limit])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(read_document_refs(c, row)?);
            }
            Ok(found)
        })
        .await
    }

    async fn get_document_refs(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentRefs>> {
        let documents = documents.to_vec();
        self.run_read(move |c| {
            let mut statement = c.prepare_cached(&format!("{NAMED} where d.id = ?1"))?;
            let mut found = Vec::with_capacity(documents.len());
            for document in documents {
                let mut rows = statement.query([document.0])?;
                if let Some(row) = rows.next()? {
                    found.push(read_document_refs(c, row)?);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn queue_repair(
        &self,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let pipeline = pipeline.to_owned();
        self.run_write(Durability::Synced, move |t| {
            queue_repair(t, document, &pipeline, job, now)
        })
        .await
    }

    async fn find_miscounted_tenants(&self) -> CatalogueResult<Vec<TenantId>> {
        let (database, statistics) = (self.database.clone(), self.statistics.clone());
        let miscounted = move || statistics.find_miscounted_tenants(&database);
        Ok(run_blocking::<_, SqliteTransactionError>(miscounted).await?)
    }

    async fn recount_term_statistics(&self) -> CatalogueResult<()> {
        let (database, statistics) = (self.database.clone(), self.statistics.clone());
        let recount = move || statistics.recount_totals(&database);
        Ok(run_blocking::<_, SqliteTransactionError>(recount).await?)
    }

    async fn highest_generation(&self) -> CatalogueResult<Generation> {
        self.run_read(|c| {
            let mut statement = c.prepare_cached("select value from counters where name = 'generation'")?;
            Ok(Generation(statement.query_row([], |row| row.get(0))?))
        })
        .await
    }
}

fn read_document_refs(c: &Connection, row: &Row<'_>) -> Result<DocumentRefs, SqliteTransactionError> {
    let document = DocumentId(row.get("id")?);
    let counted: Option<Vec<u8>> = row.get("counted")?;
    Ok(DocumentRefs {
        document,
        tenant: get_name(row, "tenant")?,
        status: get_enum(row, "status")?,
        published: row.get::<_, Option<u64>>("published")?.map(Generation),
        chunks: row.get("chunks")?,
        counted: counted.map(|bytes| read_chunk_count(&bytes)).transpose()?,
        stored: row.get::<_, Option<u64>>("stored")?.map(Generation),
        incoming: row.get("incoming")?,
        given_title: row.get("given_title")?,
        stamp: RevisionStamp {
            revision: row.get("acl_revision")?,
            updated: i128::from(row.get::<_, i64>("updated_at")?),
        },
        jobs: load_live_jobs(c, document)?,
    })
}

fn load_live_jobs(c: &Connection, document: DocumentId) -> Result<Vec<LiveJob>, SqliteTransactionError> {
    let mut statement =
        c.prepare_cached("select kind, generation from jobs where document = ?1 and state in ('queued', 'running')")?;
    let mut rows = statement.query([document.0])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(LiveJob {
            kind: get_enum(row, "kind")?,
            generation: Generation(row.get("generation")?),
        });
    }
    Ok(jobs)
}

fn queue_repair(
    t: &Connection,
    document: DocumentId,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, SqliteTransactionError> {
    let Some(stored) = StoredDocument::load_document(t, document)? else {
        return Ok(None);
    };
    if !load_live_jobs(t, document)?.is_empty() {
        return Ok(None);
    }
    match stored.document.status {
        DocumentStatus::Deleting => queue_job(t, &stored, Job::new_queued(job, JobKind::Purge, None, now)).map(Some),
        _ if stored.document.published.is_none() => Ok(None),
        _ => reingest_published(t, stored, pipeline, job, now).map(Some),
    }
}
