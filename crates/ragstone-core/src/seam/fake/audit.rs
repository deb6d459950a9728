//! Consistency scan of the in-memory catalogue.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::MemoryCatalogue;
use super::catalogue::state::{Entry, State};
use super::catalogue::version::made_again;
use super::lock;
use crate::document::{DocumentStatus, Job, JobKind};
use crate::id::{DocumentId, Generation, JobId, TenantId};
use crate::seam::audit::{ConsistencyScan, DocumentRefs, LiveJob};
use crate::seam::catalogue::CatalogueResult;
use crate::seam::manifest::RevisionStamp;

impl State {
    fn named(&self, entry: &Entry) -> DocumentRefs {
        let document = &entry.document;
        let live = self
            .jobs
            .iter()
            .map(|task| &task.job)
            .filter(|job| job.document_id == Some(document.id) && !job.state.is_final());
        let counted = document
            .published
            .and_then(|generation| self.statistics.get(&(document.id, generation)));
        DocumentRefs {
            document: document.id,
            tenant: document.acl.tenant.clone(),
            status: document.status,
            published: document.published,
            chunks: document.chunks,
            counted: counted.map(|(_, delta)| delta.chunks),
            stored: entry.stored,
            incoming: entry.begun.incoming.clone(),
            given_title: entry.begun.title.clone(),
            stamp: RevisionStamp::new(document.acl_revision, document.updated_at),
            jobs: live
                .map(|job| LiveJob {
                    kind: job.kind,
                    generation: job.generation,
                })
                .collect(),
        }
    }
}

#[async_trait]
impl ConsistencyScan for MemoryCatalogue {
    async fn list_document_refs(&self, after: Option<DocumentId>, limit: usize) -> CatalogueResult<Vec<DocumentRefs>> {
        let state = lock(&self.state);
        let later = state
            .documents
            .iter()
            .filter(|(id, _)| after.is_none_or(|after| **id > after));
        Ok(later.take(limit).map(|(_, entry)| state.named(entry)).collect())
    }

    async fn get_document_refs(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentRefs>> {
        let state = lock(&self.state);
        let found = documents.iter().filter_map(|id| state.documents.get(id));
        Ok(found.map(|entry| state.named(entry)).collect())
    }

    async fn queue_repair(
        &self,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let mut state = lock(&self.state);
        let Some(entry) = state.documents.get(&document).cloned() else {
            return Ok(None);
        };
        let tombstoned = entry.document.status == DocumentStatus::Deleting;
        let live = !state.named(&entry).jobs.is_empty();
        if live || (!tombstoned && entry.document.published.is_none()) {
            return Ok(None);
        }
        if tombstoned {
            return Ok(Some(state.queue(&entry, job, JobKind::Purge, None, now)));
        }
        let entry = made_again(&entry, pipeline, now);
        state.save(&entry);
        Ok(Some(state.queue(&entry, job, JobKind::Ingest, None, now)))
    }

    async fn find_miscounted_tenants(&self) -> CatalogueResult<Vec<TenantId>> {
        let state = lock(&self.state);
        let strays = state.statistics.iter().filter(|(key, _)| !state.is_published(key));
        let mut tenants: Vec<_> = strays.map(|(_, (tenant, _))| tenant.clone()).collect();
        tenants.dedup();
        Ok(tenants)
    }

    async fn recount_term_statistics(&self) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let counted = std::mem::take(&mut state.statistics);
        state.statistics = counted.into_iter().filter(|(key, _)| state.is_published(key)).collect();
        Ok(())
    }

    async fn highest_generation(&self) -> CatalogueResult<Generation> {
        Ok(lock(&self.state).highest_drawn())
    }
}

impl State {
    fn is_published(&self, (document, generation): &(DocumentId, Generation)) -> bool {
        self.documents.get(document).is_some_and(|entry| {
            entry.document.status != DocumentStatus::Deleting && entry.document.published == Some(*generation)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::Catalogue;
    use crate::seam::contract::audit_contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        audit_contract(|| async { Arc::new(MemoryCatalogue::default()) as Arc<dyn Catalogue> }).await;
    }
}
