//! Embeddings of documents that no row knows.

use super::{BATCH, ConsistencyCheck, FindingKind, FsckError, FsckRun};
use crate::id::DocumentId;
use crate::seam::audit::DocumentRefs;

impl ConsistencyCheck {
    /// Compares the documents that the embedding cache knows with the rows. What it lacks is nothing wrong.
    pub(super) async fn check_cache(&self, check: &mut FsckRun) -> Result<(), FsckError> {
        let Some(cache) = &self.context.stores.embeddings else {
            return Ok(());
        };
        let held = cache.list_documents().await?;
        for batch in held.chunks(BATCH) {
            let rows = self.load_rows(batch.iter().copied()).await?;
            for &document in batch {
                match rows.get(&document) {
                    Some(row) if row.is_live() => {}
                    Some(row) if !row.jobs.is_empty() => check.report.pending.cache += 1,
                    row => self.report_orphan_embeddings(check, document, row).await?,
                }
            }
        }
        Ok(())
    }

    async fn report_orphan_embeddings(
        &self,
        check: &mut FsckRun,
        document: DocumentId,
        row: Option<&DocumentRefs>,
    ) -> Result<(), FsckError> {
        // The purge that repair has queued for a tombstone forgets them too.
        let remove = check.remedies.remove_orphans && row.is_none();
        if remove && let Some(cache) = &self.context.stores.embeddings {
            cache.remove_document(document).await?;
        }
        let what = format!("document {document}");
        check.report.add_finding(FindingKind::OrphanEmbeddings, what, 1, remove);
        Ok(())
    }
}
