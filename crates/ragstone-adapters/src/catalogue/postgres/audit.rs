//! What the rows name, for `fsck` and the sweep.

use std::collections::HashMap;

use async_trait::async_trait;
use ragstone_core::document::{DocumentStatus, Job, JobKind};
use ragstone_core::id::{DocumentId, Generation, JobId, TenantId};
use ragstone_core::seam::audit::{Audit, LiveJob, Named};
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::manifest::Stamp;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::PostgresCatalogue;
use super::begin::{make_again, queue};
use super::database::{Mode, Session, Values, transact};
use super::error::Failure;
use super::row::{Hold, document, get, id, name, number, optional_number, word};
use crate::catalogue::value::read_chunks;

const NAMED: &str = "select d.id, d.tenant, d.status, d.published, d.chunks, d.stored, d.incoming, d.given_title,
    d.acl_revision, d.updated_at,
    (select substring(s.delta from 1 for 8) from statistics s
     where s.document = d.id and s.generation = d.published) as counted
    from documents d";

type LiveJobs = HashMap<Uuid, Vec<LiveJob>>;

#[async_trait]
impl Audit for PostgresCatalogue {
    async fn named_after(&self, after: Option<DocumentId>, limit: usize) -> CatalogueResult<Vec<Named>> {
        let after = after.map(|after| after.0);
        let query = format!("{NAMED} where $1::uuid is null or d.id > $1 order by d.id limit $2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(transact!(self.database, Mode::Snapshot, |t| named(
            &t,
            &query,
            &[&after, &limit]
        ))?)
    }

    async fn named(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Named>> {
        let ids: Vec<Uuid> = documents.iter().map(|document| document.0).collect();
        let query = format!("{NAMED} where d.id = any($1)");
        let found = transact!(self.database, Mode::Snapshot, |t| named(&t, &query, &[&ids]))?;
        let found: HashMap<_, _> = found.into_iter().map(|named| (named.document, named)).collect();
        Ok(documents.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    async fn queue_again(
        &self,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        Ok(transact!(self.database, Mode::Synced, |t| again(
            &t, document, pipeline, job, now
        ))?)
    }

    async fn miscounted(&self) -> CatalogueResult<Vec<TenantId>> {
        Ok(self.statistics.miscounted(&self.database).await?)
    }

    async fn recount(&self) -> CatalogueResult<()> {
        Ok(self.statistics.recount(&self.database).await?)
    }

    async fn highest_generation(&self) -> CatalogueResult<Generation> {
        let session = self.database.session().await?;
        // A sequence that was never drawn from has its first number as its last.
        let drawn = "select case when is_called then last_value else 0 end as drawn from generations";
        let row = session.one(drawn, &[]).await?;
        Ok(Generation(number(&row, "drawn")?))
    }
}

/// Rows and jobs of one state of the database: between two, a job could end and what it published look like nobody's.
async fn named(t: &Session, query: &str, values: Values<'_>) -> Result<Vec<Named>, Failure> {
    let rows = t.all(query, values).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| id(row, "id")).collect::<Result<_, _>>()?;
    let mut jobs = live_jobs(t, &ids).await?;
    let named = |(row, id): (&Row, &Uuid)| read(row, jobs.remove(id).unwrap_or_default());
    rows.iter().zip(&ids).map(named).collect()
}

fn read(row: &Row, jobs: Vec<LiveJob>) -> Result<Named, Failure> {
    let counted: Option<&[u8]> = get(row, "counted")?;
    Ok(Named {
        document: DocumentId(id(row, "id")?),
        tenant: name(row, "tenant")?,
        status: word(row, "status")?,
        published: optional_number(row, "published")?.map(Generation),
        chunks: number(row, "chunks")?,
        counted: counted.map(read_chunks).transpose()?,
        stored: optional_number(row, "stored")?.map(Generation),
        incoming: get(row, "incoming")?,
        given_title: get(row, "given_title")?,
        stamp: Stamp {
            revision: number(row, "acl_revision")?,
            updated: i128::from(get::<i64>(row, "updated_at")?),
        },
        jobs,
    })
}

async fn live_jobs(t: &Session, documents: &[Uuid]) -> Result<LiveJobs, Failure> {
    let rows = t
        .all(
            "select document, kind, generation from jobs
             where document = any($1) and state in ('queued', 'running') order by sequence",
            &[&documents],
        )
        .await?;
    let mut jobs = LiveJobs::new();
    for row in &rows {
        jobs.entry(id(row, "document")?).or_default().push(LiveJob {
            kind: word(row, "kind")?,
            generation: Generation(number(row, "generation")?),
        });
    }
    Ok(jobs)
}

async fn again(
    t: &Session,
    id: DocumentId,
    pipeline: &str,
    job: JobId,
    now: OffsetDateTime,
) -> Result<Option<Job>, Failure> {
    let Some(stored) = document(t, id, Hold::Row).await? else {
        return Ok(None);
    };
    if !live_jobs(t, &[id.0]).await?.is_empty() {
        return Ok(None);
    }
    let again = match stored.document.status {
        DocumentStatus::Deleting => queue(t, &stored, Job::queued(job, JobKind::Purge, None, now)).await?,
        _ if stored.document.published.is_none() => return Ok(None),
        _ => make_again(t, stored, pipeline, job, now).await?,
    };
    Ok(Some(again))
}
