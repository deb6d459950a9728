//! Published versions taken out and put in.

use async_trait::async_trait;
use ragstone_core::access::Scope;
use ragstone_core::document::{Job, JobKind};
use ragstone_core::id::{DocumentId, JobId};
use ragstone_core::seam::catalogue::{CatalogueError, CatalogueResult};
use ragstone_core::seam::portable::{Holder, Packed, Portable, Unpacked};
use uuid::Uuid;

use super::PostgresCatalogue;
use super::begin::{cancel_ingests, queue, save_with_jobs};
use super::database::{Mode, Session, transact};
use super::error::Failure;
use super::job_row::{self, update_held_job};
use super::row::{Hold, document, draw_generation, get, insert_document, whole};
use crate::catalogue::moved::{self, Place};
use crate::catalogue::sums::decode;

#[async_trait]
impl Portable for PostgresCatalogue {
    async fn pack(&self, document: DocumentId) -> CatalogueResult<Option<Packed>> {
        Ok(transact!(self.database, Mode::Snapshot, |t| pack(&t, document))?)
    }

    async fn unpack(
        &self,
        scope: &Scope,
        packed: &Packed,
        incoming: &str,
        job: JobId,
        holder: Holder,
    ) -> CatalogueResult<Unpacked> {
        let now = self.moment(holder.now).await?;
        let holder = Holder { now, ..holder };
        let unpacked = transact!(self.database, Mode::Synced, |t| unpack(
            &t,
            scope,
            packed,
            incoming,
            job,
            (holder, self.holder)
        ))?;
        self.moved(1).await;
        Ok(unpacked)
    }
}

async fn pack(t: &Session, id: DocumentId) -> Result<Option<Packed>, Failure> {
    let Some(stored) = document(t, id, Hold::No).await? else {
        return Ok(None);
    };
    let Some(generation) = stored.document.published else {
        return Ok(None);
    };
    let delta = "select delta from statistics where document = $1 and generation = $2";
    let row = t.first(delta, &[&id.0, &whole(generation.0)?]).await?;
    let delta = match row {
        Some(row) => decode(get(&row, "delta")?)?,
        None => Default::default(),
    };
    Ok(moved::pack(stored, delta))
}

async fn unpack(
    t: &Session,
    scope: &Scope,
    packed: &Packed,
    incoming: &str,
    job: JobId,
    (holder, process): (Holder, Uuid),
) -> Result<Unpacked, Failure> {
    let (found, now) = (document(t, packed.id, Hold::Row).await?, holder.now);
    let life = match moved::place(found.as_ref(), scope, packed)? {
        Place::Same => return Ok(Unpacked::Unchanged),
        Place::Taken => return Ok(Unpacked::Kept),
        Place::Unfinished(life) => life,
        Place::Free => draw_generation(t).await?.0,
    };
    cancel_ingests(t, packed.id, now.wall).await?;
    let stored = moved::unpacked(packed, life, incoming);
    match found.is_some() {
        true => save_with_jobs(t, &stored).await?,
        false => insert_document(t, &stored).await?,
    }
    queue(t, &stored, Job::queued(job, JobKind::Ingest, None, now.wall)).await?;
    let queued = job_row::job(t, job, Hold::Row).await?;
    let mut queued = queued.ok_or(CatalogueError::Stale)?;
    queued.course.claim(&mut queued.job, holder.worker, holder.lease, now);
    queued.job.generation = draw_generation(t).await?;
    update_held_job(t, &queued, process).await?;
    Ok(Unpacked::Begun(queued.claimed(stored)))
}
