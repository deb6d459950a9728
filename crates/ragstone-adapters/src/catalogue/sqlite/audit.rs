//! What the rows name, for `fsck` and the sweep.

use async_trait::async_trait;
use ragstone_core::document::{DocumentStatus, Job, JobKind};
use ragstone_core::id::{DocumentId, Generation, JobId, TenantId};
use ragstone_core::seam::audit::{Audit, LiveJob, Named};
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::manifest::Stamp;
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use super::begin::{make_again, queue};
use super::row::{StoredDocument, name, word};
use super::{Failure, SqliteCatalogue};
use crate::catalogue::value::read_chunks;
use crate::sqlite::{Durability, blocking};

/// The first eight bytes of a delta are its chunks.
const NAMED: &str = "select d.id, d.tenant, d.status, d.published, d.chunks, d.stored, d.incoming, d.given_title,
    d.acl_revision, d.updated_at,
    (select substr(s.delta, 1, 8) from statistics s where s.document = d.id and s.generation = d.published) as counted
    from documents d";

#[async_trait]
impl Audit for SqliteCatalogue {
    async fn named_after(&self, after: Option<DocumentId>, limit: usize) -> CatalogueResult<Vec<Named>> {
        self.read(move |c| {
            let after = after.map_or(Vec::new(), |after| after.0.as_bytes().to_vec());
            let mut statement = c.prepare_cached(&format!("{NAMED} where d.id > ?1 order by d.id limit ?2"))?;
            let mut rows = statement.query(params![after, limit])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(read(c, row)?);
            }
            Ok(found)
        })
        .await
    }

    async fn named(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Named>> {
        let documents = documents.to_vec();
        self.read(move |c| {
            let mut statement = c.prepare_cached(&format!("{NAMED} where d.id = ?1"))?;
            let mut found = Vec::with_capacity(documents.len());
            for document in documents {
                let mut rows = statement.query([document.0])?;
                if let Some(row) = rows.next()? {
                    found.push(read(c, row)?);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn queue_again(
        &self,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let pipeline = pipeline.to_owned();
        self.write(Durability::Synced, move |t| again(t, document, &pipeline, job, now))
            .await
    }

    async fn miscounted(&self) -> CatalogueResult<Vec<TenantId>> {
        let (database, statistics) = (self.database.clone(), self.statistics.clone());
        let miscounted = move || statistics.miscounted(&database);
        Ok(blocking::<_, Failure>(miscounted).await?)
    }

    async fn recount(&self) -> CatalogueResult<()> {
        let (database, statistics) = (self.database.clone(), self.statistics.clone());
        let recount = move || statistics.recount(&database);
        Ok(blocking::<_, Failure>(recount).await?)
    }

    async fn highest_generation(&self) -> CatalogueResult<Generation> {
        self.read(|c| {
            let mut statement = c.prepare_cached("select value from counters where name = 'generation'")?;
            Ok(Generation(statement.query_row([], |row| row.get(0))?))
        })
        .await
    }
}

fn read(c: &Connection, row: &Row<'_>) -> Result<Named, Failure> {
    let document = DocumentId(row.get("id")?);
    let counted: Option<Vec<u8>> = row.get("counted")?;
    Ok(Named {
        document,
        tenant: name(row, "tenant")?,
        status: word(row, "status")?,
        published: row.get::<_, Option<u64>>("published")?.map(Generation),
        chunks: row.get("chunks")?,
        counted: counted.map(|bytes| read_chunks(&bytes)).transpose()?,
        stored: row.get::<_, Option<u64>>("stored")?.map(Generation),
        incoming: row.get("incoming")?,
        given_title: row.get("given_title")?,
        stamp: Stamp {
            revision: row.get("acl_revision")?,
            updated: i128::from(row.get::<_, i64>("updated_at")?),
        },
        jobs: live_jobs(c, document)?,
    })
}

fn live_jobs(c: &Connection, document: DocumentId) -> Result<Vec<LiveJob>, Failure> {
    let mut statement =
        c.prepare_cached("select kind, generation from jobs where document = ?1 and state in ('queued', 'running')")?;
    let mut rows = statement.query([document.0])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(LiveJob {
            kind: word(row, "kind")?,
            generation: Generation(row.get("generation")?),
        });
    }
    Ok(jobs)
}

fn again(
    t: &Connection,
    document: DocumentId,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, Failure> {
    let Some(stored) = StoredDocument::load(t, document)? else {
        return Ok(None);
    };
    if !live_jobs(t, document)?.is_empty() {
        return Ok(None);
    }
    match stored.document.status {
        DocumentStatus::Deleting => queue(t, &stored, Job::queued(job, JobKind::Purge, None, now)).map(Some),
        _ if stored.document.published.is_none() => Ok(None),
        _ => make_again(t, stored, pipeline, job, now).map(Some),
    }
}
