//! Embeddings of documents that no row knows.

use super::{BATCH, Check, Disagreement, FsckError};
use crate::id::DocumentId;
use crate::ingest::Ingestor;
use crate::seam::audit::Named;

impl Ingestor {
    /// Compares the documents that the embedding cache knows with the rows. What it lacks is nothing wrong.
    pub(super) async fn check_cache(&self, check: &mut Check) -> Result<(), FsckError> {
        let Some(cache) = &self.stores.embeddings else {
            return Ok(());
        };
        let held = cache.documents().await?;
        for batch in held.chunks(BATCH) {
            let rows = self.rows_of(batch.iter().copied()).await?;
            for &document in batch {
                match rows.get(&document) {
                    Some(row) if row.lives() => {}
                    Some(row) if !row.jobs.is_empty() => check.report.pending.cache += 1,
                    row => self.orphan_embeddings(check, document, row).await?,
                }
            }
        }
        Ok(())
    }

    async fn orphan_embeddings(
        &self,
        check: &mut Check,
        document: DocumentId,
        row: Option<&Named>,
    ) -> Result<(), FsckError> {
        // The purge that repair has queued for a tombstone forgets them too.
        let remove = check.remedies.finish && row.is_none();
        if remove && let Some(cache) = &self.stores.embeddings {
            cache.forget(document).await?;
        }
        let what = format!("document {document}");
        check.report.found(Disagreement::OrphanEmbeddings, what, 1, remove);
        Ok(())
    }
}
