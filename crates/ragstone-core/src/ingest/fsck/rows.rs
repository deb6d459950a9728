//! What rows name and the other stores lack.

use std::sync::Arc;

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{BATCH, FindingKind, FsckError, FsckRun, describe_generation};
use crate::id::{DocumentId, Generation, JobId};
use crate::ingest::context::IngestContext;
use crate::ingest::manifest::ManifestWriter;
use crate::library::layout::manifest_key;
use crate::library::text::{original_key, text_key};
use crate::seam::audit::DocumentRefs;
use crate::seam::index::DocumentGeneration;

/// Looks at each row for what it names and the other stores lack.
pub(super) struct RowCheck {
    context: Arc<IngestContext>,
    manifests: Arc<ManifestWriter>,
}

impl RowCheck {
    pub(super) fn new(context: &Arc<IngestContext>, manifests: &Arc<ManifestWriter>) -> Self {
        Self {
            context: context.clone(),
            manifests: manifests.clone(),
        }
    }

    /// Goes through all rows, a page at a time.
    pub(super) async fn check_rows(&self, check: &mut FsckRun) -> Result<(), FsckError> {
        let mut after = None;
        loop {
            let rows = self.context.stores.catalogue.list_document_refs(after, BATCH).await?;
            for row in &rows {
                self.check_row(check, row).await?;
            }
            match rows.last() {
                Some(last) => after = Some(last.document),
                None => return Ok(()),
            }
        }
    }

    async fn check_row(&self, check: &mut FsckRun, row: &DocumentRefs) -> Result<(), FsckError> {
        let waiting = row.incoming_key().and_then(|key| check.incoming.get_mut(key));
        let bytes_wait = waiting.map(|waiting| waiting.named = true).is_some();
        if !row.is_live() {
            return self.check_tombstone(check, row).await;
        }
        check.report.documents += 1;
        let source_missing = row.is_being_ingested()
            && match row.stored {
                Some(generation) => !check.originals.contains(&(row.document, generation)),
                None => !bytes_wait,
            };
        if source_missing {
            self.check_original(check, row).await?;
        }
        let Some(generation) = row.published else {
            return Ok(());
        };
        check.report.chunks += u64::from(row.chunks);
        let at = (row.document, generation);
        if check.remedies.remove_orphans && check.originals.contains(&at) {
            self.check_manifest(check, row, at).await?;
        }
        let whole = check
            .points
            .get(&at)
            .is_some_and(|&points| points >= u64::from(row.chunks))
            && check.originals.contains(&at)
            && check.texts.contains(&at)
            && row.counted == Some(u64::from(row.chunks));
        match whole {
            true => Ok(()),
            false => self.check_version(check, at).await,
        }
    }

    /// A manifest is missing after an upgrade, and old after a crash or after an earlier release changed the row.
    async fn check_manifest(
        &self,
        check: &mut FsckRun,
        row: &DocumentRefs,
        at: DocumentGeneration,
    ) -> Result<(), FsckError> {
        let newest = check.manifests.get(&at).copied();
        if newest == Some(row.stamp) {
            return Ok(());
        }
        if self.manifests.update_manifest(row.document).await? {
            check.recorded += 1;
        }
        if let Some(newest) = newest.filter(|newest| *newest > row.stamp) {
            // Written while the clock was ahead: it would count as the newer one.
            let key = manifest_key(&row.tenant, at.0, at.1, newest);
            check.leftovers.add_outdated(key);
        }
        Ok(())
    }

    async fn check_tombstone(&self, check: &mut FsckRun, row: &DocumentRefs) -> Result<(), FsckError> {
        if !row.jobs.is_empty() {
            check.report.pending.catalogue += 1;
            return Ok(());
        }
        let queued = match check.remedies.remove_orphans {
            true => self.queue_repair(check, row.document).await?,
            false => false,
        };
        let what = format!("document {}", row.document);
        check.report.add_finding(FindingKind::PurgeUnfinished, what, 1, queued);
        Ok(())
    }

    /// The bytes that a live job needs. The job may have moved them since they were listed.
    async fn check_original(&self, check: &mut FsckRun, seen: &DocumentRefs) -> Result<(), FsckError> {
        let key = match (seen.stored, seen.incoming_key()) {
            (Some(generation), _) => original_key(&seen.tenant, seen.document, generation),
            (None, Some(key)) => Path::from(key),
            (None, None) => return Ok(()),
        };
        if self.has_blob(&key).await? {
            return Ok(());
        }
        let rows = self
            .context
            .stores
            .catalogue
            .get_document_refs(&[seen.document])
            .await?;
        let same =
            |row: &DocumentRefs| row.is_being_ingested() && row.stored == seen.stored && row.incoming == seen.incoming;
        if rows.iter().any(same) {
            check
                .report
                .add_finding(FindingKind::OriginalMissing, key.to_string(), 1, false);
        }
        Ok(())
    }

    /// Looks again at a published version that seemed to lack something.
    async fn check_version(&self, check: &mut FsckRun, at: (DocumentId, Generation)) -> Result<(), FsckError> {
        let (document, generation) = at;
        let Some(before) = self.find_published(at).await? else {
            return Ok(());
        };
        let held = self.context.stores.index.list_generations(Some(document)).await?;
        let points: u64 = held.iter().filter(|(held, _)| *held == at).map(|(_, n)| n).sum();
        let original = self
            .has_blob(&original_key(&before.tenant, document, generation))
            .await?;
        let text = self.has_blob(&text_key(&before.tenant, document, generation)).await?;
        let Some(row) = self.find_published(at).await? else {
            return Ok(());
        };
        let chunks = u64::from(row.chunks);
        let lacks = [
            (points < chunks, FindingKind::PointsMissing),
            (!text, FindingKind::TextMissing),
            (row.counted != Some(chunks), FindingKind::NotCounted),
        ];
        let mut lacks = lacks.into_iter().filter(|(lacks, _)| *lacks).map(|(_, kind)| kind);
        let remade = lacks.next();
        if let Some(kind) = remade {
            if (original || text) && row.is_being_ingested() {
                check.report.pending.catalogue += 1;
                return Ok(());
            }
            let queued =
                (original || text) && check.remedies.rebuild_missing && self.queue_repair(check, document).await?;
            check.report.add_finding(kind, describe_generation(at), 1, queued);
        }
        if !original {
            check
                .report
                .add_finding(FindingKind::OriginalMissing, describe_generation(at), 1, false);
        }
        Ok(())
    }

    async fn find_published(&self, at: (DocumentId, Generation)) -> Result<Option<DocumentRefs>, FsckError> {
        let rows = self.context.stores.catalogue.get_document_refs(&[at.0]).await?;
        Ok(rows
            .into_iter()
            .find(|row| row.is_live() && row.published == Some(at.1)))
    }

    async fn queue_repair(&self, check: &mut FsckRun, document: DocumentId) -> Result<bool, FsckError> {
        let (job, pipeline) = (JobId(self.context.new_id()), self.context.pipeline());
        let queued = self
            .context
            .stores
            .catalogue
            .queue_repair(document, pipeline.fingerprint(), job, check.now)
            .await?;
        check.report.jobs.extend(queued.as_ref().map(|job| job.id));
        Ok(queued.is_some())
    }

    async fn has_blob(&self, key: &Path) -> Result<bool, FsckError> {
        match self.context.stores.blobs.head(key).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
