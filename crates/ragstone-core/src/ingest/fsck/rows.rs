//! What rows name and the other stores lack.

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{BATCH, Check, Disagreement, FsckError, name};
use crate::id::{DocumentId, Generation, JobId};
use crate::ingest::Ingestor;
use crate::library::layout::manifest_key;
use crate::library::text::{original_key, text_key};
use crate::seam::audit::Named;
use crate::seam::index::DocumentGeneration;

impl Ingestor {
    /// Goes through all rows, a page at a time.
    pub(super) async fn check_rows(&self, check: &mut Check) -> Result<(), FsckError> {
        let mut after = None;
        loop {
            let rows = self.stores.catalogue.named_after(after, BATCH).await?;
            for row in &rows {
                self.check_row(check, row).await?;
            }
            match rows.last() {
                Some(last) => after = Some(last.document),
                None => return Ok(()),
            }
        }
    }

    async fn check_row(&self, check: &mut Check, row: &Named) -> Result<(), FsckError> {
        let waiting = row.waiting().and_then(|key| check.incoming.get_mut(key));
        let bytes_wait = waiting.map(|waiting| waiting.named = true).is_some();
        if !row.lives() {
            return self.check_tombstone(check, row).await;
        }
        check.report.documents += 1;
        let source_missing = row.is_being_made()
            && match row.stored {
                Some(generation) => !check.originals.contains(&(row.document, generation)),
                None => !bytes_wait,
            };
        if source_missing {
            self.check_source(check, row).await?;
        }
        let Some(generation) = row.published else {
            return Ok(());
        };
        check.report.chunks += u64::from(row.chunks);
        let at = (row.document, generation);
        if check.remedies.finish && check.originals.contains(&at) {
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
    async fn check_manifest(&self, check: &mut Check, row: &Named, at: DocumentGeneration) -> Result<(), FsckError> {
        let newest = check.manifests.get(&at).copied();
        if newest == Some(row.stamp) {
            return Ok(());
        }
        if self.record(row.document).await? {
            check.recorded += 1;
        }
        if let Some(newest) = newest.filter(|newest| *newest > row.stamp) {
            // Written while the clock was ahead: it would count as the newer one.
            let key = manifest_key(&row.tenant, at.0, at.1, newest);
            check.leftovers.outdated(key);
        }
        Ok(())
    }

    async fn check_tombstone(&self, check: &mut Check, row: &Named) -> Result<(), FsckError> {
        if !row.jobs.is_empty() {
            check.report.pending.catalogue += 1;
            return Ok(());
        }
        let queued = match check.remedies.finish {
            true => self.queue_again(check, row.document).await?,
            false => false,
        };
        let what = format!("document {}", row.document);
        check.report.found(Disagreement::PurgeUnfinished, what, 1, queued);
        Ok(())
    }

    /// The bytes that a live job needs. The job may have moved them since they were listed.
    async fn check_source(&self, check: &mut Check, seen: &Named) -> Result<(), FsckError> {
        let key = match (seen.stored, seen.waiting()) {
            (Some(generation), _) => original_key(&seen.tenant, seen.document, generation),
            (None, Some(key)) => Path::from(key),
            (None, None) => return Ok(()),
        };
        if self.has(&key).await? {
            return Ok(());
        }
        let rows = self.stores.catalogue.named(&[seen.document]).await?;
        let same = |row: &Named| row.is_being_made() && row.stored == seen.stored && row.incoming == seen.incoming;
        if rows.iter().any(same) {
            check
                .report
                .found(Disagreement::OriginalMissing, key.to_string(), 1, false);
        }
        Ok(())
    }

    /// Looks again at a published version that seemed to lack something.
    async fn check_version(&self, check: &mut Check, at: (DocumentId, Generation)) -> Result<(), FsckError> {
        let (document, generation) = at;
        let Some(before) = self.published_as(at).await? else {
            return Ok(());
        };
        let held = self.stores.index.generations(Some(document)).await?;
        let points: u64 = held.iter().filter(|(held, _)| *held == at).map(|(_, n)| n).sum();
        let original = self.has(&original_key(&before.tenant, document, generation)).await?;
        let text = self.has(&text_key(&before.tenant, document, generation)).await?;
        let Some(row) = self.published_as(at).await? else {
            return Ok(());
        };
        let chunks = u64::from(row.chunks);
        let lacks = [
            (points < chunks, Disagreement::PointsMissing),
            (!text, Disagreement::TextMissing),
            (row.counted != Some(chunks), Disagreement::NotCounted),
        ];
        let mut lacks = lacks.into_iter().filter(|(lacks, _)| *lacks).map(|(_, kind)| kind);
        let remade = lacks.next();
        if let Some(kind) = remade {
            if (original || text) && row.is_being_made() {
                check.report.pending.catalogue += 1;
                return Ok(());
            }
            let queued = (original || text) && check.remedies.restore && self.queue_again(check, document).await?;
            check.report.found(kind, name(at), 1, queued);
        }
        if !original {
            check.report.found(Disagreement::OriginalMissing, name(at), 1, false);
        }
        Ok(())
    }

    async fn published_as(&self, at: (DocumentId, Generation)) -> Result<Option<Named>, FsckError> {
        let rows = self.stores.catalogue.named(&[at.0]).await?;
        Ok(rows.into_iter().find(|row| row.lives() && row.published == Some(at.1)))
    }

    async fn queue_again(&self, check: &mut Check, document: DocumentId) -> Result<bool, FsckError> {
        let (job, pipeline) = (JobId((self.new_id)()), self.pipeline());
        let queued = self
            .stores
            .catalogue
            .queue_again(document, pipeline.fingerprint(), job, check.now)
            .await?;
        check.report.jobs.extend(queued.as_ref().map(|job| job.id));
        Ok(queued.is_some())
    }

    async fn has(&self, key: &Path) -> Result<bool, FsckError> {
        match self.stores.blobs.head(key).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The sums of the term statistics.
    pub(super) async fn check_statistics(&self, check: &mut Check) -> Result<(), FsckError> {
        let tenants = self.stores.catalogue.miscounted().await?;
        if check.remedies.restore && !tenants.is_empty() {
            self.stores.catalogue.recount().await?;
        }
        for tenant in tenants {
            let what = format!("tenant {tenant}");
            check
                .report
                .found(Disagreement::Miscounted, what, 1, check.remedies.restore);
        }
        Ok(())
    }
}
