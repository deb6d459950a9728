//! Documents and jobs of all tenants, as the local operator sees them.
//!
//! Invariant: each is read through the operator's scope in its tenant.

use std::time::Duration;

use ragstone_core::access::Scope;
use ragstone_core::document::{DocumentStatus, Job, JobState};
use ragstone_core::id::{DocumentId, JobId, TenantId};
use ragstone_core::seam::catalogue::{DocumentFilter, JobFilter, PageRequest};

use super::EmbedderManager;

/// Rows that are read at once.
const PAGE: usize = 500;
/// Interval of checks whether jobs have ended.
const LOOK: Duration = Duration::from_millis(200);

impl EmbedderManager {
    /// Finds a job of any tenant.
    pub async fn find_job(&self, job: JobId) -> anyhow::Result<Option<Job>> {
        for scope in self.operator_scopes().await? {
            if let Some(found) = self.catalogue.get_job(&scope, job).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Queues the published documents of all tenants that match `filter` for the current pipeline.
    pub(super) async fn requeue_documents(&self, filter: DocumentFilter) -> anyhow::Result<Vec<(TenantId, JobId)>> {
        let mut jobs = Vec::new();
        for (tenant, document) in self.list_published_documents(filter).await? {
            let principal = (self.operator)(tenant.clone());
            let job = self.ingestor.uploads().queue_reingest(&principal, document).await?;
            jobs.extend(job.map(|job| (tenant, job.id)));
            (self.notify_workers)();
        }
        Ok(jobs)
    }

    /// The published documents of all tenants that match the filter.
    pub async fn list_published_documents(
        &self,
        filter: DocumentFilter,
    ) -> anyhow::Result<Vec<(TenantId, DocumentId)>> {
        let filter = DocumentFilter {
            status: Some(DocumentStatus::Published),
            ..filter
        };
        let mut found = Vec::new();
        for scope in self.operator_scopes().await? {
            let mut cursor = None;
            loop {
                let request = PageRequest { cursor, limit: PAGE };
                let page = self.catalogue.list_documents(&scope, &filter, &request).await?;
                let ids = page.items.iter().map(|document| document.id);
                found.extend(ids.map(|id| (scope.tenant().clone(), id)));
                match page.next_cursor {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    /// The jobs of all tenants that have not ended.
    pub async fn live_jobs(&self) -> anyhow::Result<Vec<(TenantId, JobId)>> {
        let mut found = Vec::new();
        for scope in self.operator_scopes().await? {
            for state in [JobState::Queued, JobState::Running] {
                let jobs = self.list_jobs(&scope, state).await?;
                found.extend(jobs.into_iter().map(|id| (scope.tenant().clone(), id)));
            }
        }
        Ok(found)
    }

    pub(super) async fn list_jobs(&self, scope: &Scope, state: JobState) -> anyhow::Result<Vec<JobId>> {
        let filter = JobFilter {
            state: Some(state),
            ..JobFilter::default()
        };
        let (mut ids, mut cursor) = (Vec::new(), None);
        loop {
            let request = PageRequest { cursor, limit: PAGE };
            let page = self.catalogue.list_jobs(scope, &filter, &request).await?;
            ids.extend(page.items.iter().map(|job| job.id));
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(ids),
            }
        }
    }

    /// The operator's scope in every tenant that has documents.
    pub(super) async fn operator_scopes(&self) -> anyhow::Result<Vec<Scope>> {
        let tenants = self.catalogue.list_tenants().await?;
        let scope = |tenant| (self.operator)(tenant).scope();
        Ok(tenants.into_iter().map(scope).collect())
    }

    pub(super) async fn wait_for_jobs(&self, jobs: Vec<(TenantId, JobId)>) -> anyhow::Result<()> {
        for (tenant, job) in jobs {
            let scope = (self.operator)(tenant).scope();
            while self
                .catalogue
                .get_job(&scope, job)
                .await?
                .is_some_and(|job| !job.state.is_final())
            {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}
