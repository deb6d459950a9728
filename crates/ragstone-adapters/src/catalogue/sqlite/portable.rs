//! Export and import of published versions.

use async_trait::async_trait;
use ragstone_core::access::Scope;
use ragstone_core::document::{Job, JobKind};
use ragstone_core::id::{DocumentId, JobId};
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::portable::{BeginImportOutcome, ExportStore, ExportedVersion, LeaseHolder};
use rusqlite::{Connection, OptionalExtension, params};

use super::begin::{cancel_ingests, queue_job, save_with_jobs};
use super::job_row::StoredJob;
use super::row::{StoredDocument, draw_generation};
use super::{SqliteCatalogue, SqliteTransactionError};
use crate::catalogue::moved::{self, ImportTarget};
use crate::catalogue::stored::missing_document_error;
use crate::catalogue::sums::decode_delta;
use crate::sqlite::{Durability, SqliteError};

#[async_trait]
impl ExportStore for SqliteCatalogue {
    async fn export_version(&self, document: DocumentId) -> CatalogueResult<Option<ExportedVersion>> {
        self.run_read(move |c| export_version(c, document)).await
    }

    async fn begin_import(
        &self,
        scope: &Scope,
        packed: &ExportedVersion,
        incoming: &str,
        job: JobId,
        holder: LeaseHolder,
    ) -> CatalogueResult<BeginImportOutcome> {
        let (scope, packed, incoming) = (scope.clone(), packed.clone(), incoming.to_owned());
        self.run_write(Durability::Synced, move |t| {
            begin_import(t, &scope, &packed, &incoming, job, holder)
        })
        .await
    }
}

fn export_version(c: &Connection, id: DocumentId) -> Result<Option<ExportedVersion>, SqliteTransactionError> {
    let Some(stored) = StoredDocument::load_document(c, id)? else {
        return Ok(None);
    };
    let Some(generation) = stored.document.published else {
        return Ok(None);
    };
    let delta: Option<Vec<u8>> = c
        .prepare_cached("select delta from statistics where document = ?1 and generation = ?2")?
        .query_row(params![id.0, generation.0], |row| row.get(0))
        .optional()?;
    let delta = delta.map(|bytes| decode_delta(&bytes)).transpose()?;
    Ok(moved::build_exported_version(stored, delta.unwrap_or_default()))
}

fn begin_import(
    t: &Connection,
    scope: &Scope,
    packed: &ExportedVersion,
    incoming: &str,
    job: JobId,
    holder: LeaseHolder,
) -> Result<BeginImportOutcome, SqliteTransactionError> {
    let (found, now) = (StoredDocument::load_document(t, packed.id)?, holder.now);
    let life = match moved::find_import_target(found.as_ref(), scope, packed)? {
        ImportTarget::Same => return Ok(BeginImportOutcome::Unchanged),
        ImportTarget::Taken => return Ok(BeginImportOutcome::SkippedExisting),
        ImportTarget::Unfinished(life) => life,
        ImportTarget::Free => draw_generation(t)?.0,
    };
    cancel_ingests(t, packed.id, now.wall)?;
    let stored = moved::imported_document_row(packed, life, incoming);
    save_with_jobs(t, &stored)?;
    queue_job(t, &stored, Job::new_queued(job, JobKind::Ingest, None, now.wall))?;
    let lost = || SqliteError::Damaged(missing_document_error().detail);
    let mut queued = StoredJob::load_job(t, job)?.ok_or_else(lost)?;
    queued
        .attempt_state
        .start_attempt(&mut queued.job, holder.worker, holder.lease, now);
    queued.job.generation = draw_generation(t)?;
    queued.update_job(t)?;
    Ok(BeginImportOutcome::Begun(queued.into_claimed_job(stored)))
}
