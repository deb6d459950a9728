//! Published versions taken out and put in.

use async_trait::async_trait;
use ragstone_core::access::Scope;
use ragstone_core::document::{Job, JobKind};
use ragstone_core::id::{DocumentId, JobId};
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::portable::{Holder, Packed, Portable, Unpacked};
use rusqlite::{Connection, OptionalExtension, params};

use super::begin::{cancel_ingests, queue, save_with_jobs};
use super::job_row::StoredJob;
use super::row::{StoredDocument, draw_generation};
use super::{Failure, SqliteCatalogue};
use crate::catalogue::moved::{self, Place};
use crate::catalogue::stored::no_document;
use crate::catalogue::sums::decode;
use crate::sqlite::{DatabaseError, Durability};

#[async_trait]
impl Portable for SqliteCatalogue {
    async fn pack(&self, document: DocumentId) -> CatalogueResult<Option<Packed>> {
        self.read(move |c| pack(c, document)).await
    }

    async fn unpack(
        &self,
        scope: &Scope,
        packed: &Packed,
        incoming: &str,
        job: JobId,
        holder: Holder,
    ) -> CatalogueResult<Unpacked> {
        let (scope, packed, incoming) = (scope.clone(), packed.clone(), incoming.to_owned());
        self.write(Durability::Synced, move |t| {
            unpack(t, &scope, &packed, &incoming, job, holder)
        })
        .await
    }
}

fn pack(c: &Connection, id: DocumentId) -> Result<Option<Packed>, Failure> {
    let Some(stored) = StoredDocument::load(c, id)? else {
        return Ok(None);
    };
    let Some(generation) = stored.document.published else {
        return Ok(None);
    };
    let delta: Option<Vec<u8>> = c
        .prepare_cached("select delta from statistics where document = ?1 and generation = ?2")?
        .query_row(params![id.0, generation.0], |row| row.get(0))
        .optional()?;
    let delta = delta.map(|bytes| decode(&bytes)).transpose()?;
    Ok(moved::pack(stored, delta.unwrap_or_default()))
}

fn unpack(
    t: &Connection,
    scope: &Scope,
    packed: &Packed,
    incoming: &str,
    job: JobId,
    holder: Holder,
) -> Result<Unpacked, Failure> {
    let (found, now) = (StoredDocument::load(t, packed.id)?, holder.now);
    let life = match moved::place(found.as_ref(), scope, packed)? {
        Place::Same => return Ok(Unpacked::Unchanged),
        Place::Taken => return Ok(Unpacked::Kept),
        Place::Unfinished(life) => life,
        Place::Free => draw_generation(t)?.0,
    };
    cancel_ingests(t, packed.id, now.wall)?;
    let stored = moved::unpacked(packed, life, incoming);
    save_with_jobs(t, &stored)?;
    queue(t, &stored, Job::queued(job, JobKind::Ingest, None, now.wall))?;
    let lost = || DatabaseError::Damaged(no_document().detail);
    let mut queued = StoredJob::load(t, job)?.ok_or_else(lost)?;
    queued.course.claim(&mut queued.job, holder.worker, holder.lease, now);
    queued.job.generation = draw_generation(t)?;
    queued.update(t)?;
    Ok(Unpacked::Begun(queued.claimed(stored)))
}
