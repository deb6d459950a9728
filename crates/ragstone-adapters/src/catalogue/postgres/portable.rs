//! Export and import of published versions.

use async_trait::async_trait;
use ragstone_core::access::Scope;
use ragstone_core::document::{Job, JobKind};
use ragstone_core::id::{DocumentId, JobId};
use ragstone_core::seam::catalogue::{CatalogueError, CatalogueResult};
use ragstone_core::seam::portable::{BeginImportOutcome, ExportStore, ExportedVersion, LeaseHolder};
use uuid::Uuid;

use super::PostgresCatalogue;
use super::begin::{cancel_ingests, queue_job, save_with_jobs};
use super::database::{PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::job_row::{self, update_held_job};
use super::row::{RowLock, draw_generation, get_value, insert_document, load_document, to_bigint};
use crate::catalogue::moved::{self, ImportTarget};
use crate::catalogue::sums::decode_delta;

#[async_trait]
impl ExportStore for PostgresCatalogue {
    async fn export_version(&self, document: DocumentId) -> CatalogueResult<Option<ExportedVersion>> {
        Ok(transact!(self.database, TransactionMode::Snapshot, |t| {
            export_version(&t, document)
        })?)
    }

    async fn begin_import(
        &self,
        scope: &Scope,
        packed: &ExportedVersion,
        incoming: &str,
        job: JobId,
        holder: LeaseHolder,
    ) -> CatalogueResult<BeginImportOutcome> {
        let now = self.current_moment(holder.now).await?;
        let holder = LeaseHolder { now, ..holder };
        let unpacked = transact!(self.database, TransactionMode::Synced, |t| begin_import(
            &t,
            scope,
            packed,
            incoming,
            job,
            (holder, self.holder)
        ))?;
        self.note_job_changes(1).await;
        Ok(unpacked)
    }
}

async fn export_version(
    t: &PostgresSession,
    id: DocumentId,
) -> Result<Option<ExportedVersion>, PostgresTransactionError> {
    let Some(stored) = load_document(t, id, RowLock::Unlocked).await? else {
        return Ok(None);
    };
    let Some(generation) = stored.document.published else {
        return Ok(None);
    };
    let delta = "select delta from statistics where document = $1 and generation = $2";
    let row = t.query_first(delta, &[&id.0, &to_bigint(generation.0)?]).await?;
    let delta = match row {
        Some(row) => decode_delta(get_value(&row, "delta")?)?,
        None => Default::default(),
    };
    Ok(moved::build_exported_version(stored, delta))
}

async fn begin_import(
    t: &PostgresSession,
    scope: &Scope,
    packed: &ExportedVersion,
    incoming: &str,
    job: JobId,
    (holder, process): (LeaseHolder, Uuid),
) -> Result<BeginImportOutcome, PostgresTransactionError> {
    let (found, now) = (load_document(t, packed.id, RowLock::ForUpdate).await?, holder.now);
    let life = match moved::find_import_target(found.as_ref(), scope, packed)? {
        ImportTarget::Same => return Ok(BeginImportOutcome::Unchanged),
        ImportTarget::Taken => return Ok(BeginImportOutcome::SkippedExisting),
        ImportTarget::Unfinished(life) => life,
        ImportTarget::Free => draw_generation(t).await?.0,
    };
    cancel_ingests(t, packed.id, now.wall).await?;
    let stored = moved::imported_document_row(packed, life, incoming);
    match found.is_some() {
        true => save_with_jobs(t, &stored).await?,
        false => insert_document(t, &stored).await?,
    }
    queue_job(t, &stored, Job::new_queued(job, JobKind::Ingest, None, now.wall)).await?;
    let queued = job_row::load_job(t, job, RowLock::ForUpdate).await?;
    let mut queued = queued.ok_or(CatalogueError::Stale)?;
    queued
        .attempt_state
        .start_attempt(&mut queued.job, holder.worker, holder.lease, now);
    queued.job.generation = draw_generation(t).await?;
    update_held_job(t, &queued, process).await?;
    Ok(BeginImportOutcome::Begun(queued.into_claimed_job(stored)))
}
