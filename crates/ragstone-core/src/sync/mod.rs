//! Syncing a source: what it holds now becomes what the library holds of it.
//!
//! Invariant: nothing is deleted unless the source's list came to its end, and not unusually much without a person's word;
//! every step may be repeated, so a sync that was cut off is made good by the next one. A source is synced once at a time, whatever process does it: a turn is a lease
//! in the store, which a process that died gives up by its silence.

mod failures;
mod guard;
mod missing;
mod one;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use uuid::Uuid;

use crate::access::Principal;
use crate::document::JobError;
use crate::failure_log::TARGET;
use crate::id::{SourceId, TenantId};
use crate::ingest::{IdGenerator, Ingestor, WallClockFn};
use crate::seam::catalogue::{DocumentFilter, PageRequest};
use crate::seam::source::{DocumentSource, SourceError, SourceRecord, SourceStore, SyncLease, SyncReport};
use crate::seam::{Catalogue, CatalogueError};

pub use guard::DeletionPolicy;

/// Documents that are asked for at once.
const PAGE: usize = 1_000;

/// Makes the place of a record; refuses settings that are wrong.
pub type SourceOpener = Arc<dyn Fn(&SourceRecord) -> Result<Arc<dyn DocumentSource>, SourceError> + Send + Sync>;

/// Syncs sources.
pub struct SourceSyncer {
    /// Keeps the sources.
    pub sources: Arc<dyn SourceStore>,
    /// Keeps the documents.
    pub catalogue: Arc<dyn Catalogue>,
    /// Takes documents in.
    pub ingestor: Arc<Ingestor>,
    /// Makes a place of what is kept of it.
    pub source_opener: SourceOpener,
    /// In whose name a tenant's sources are synced.
    pub operator: fn(TenantId) -> Principal,
    /// Rung when jobs were queued.
    pub notify_workers: Arc<dyn Fn() + Send + Sync>,
    /// Tells the time.
    pub clock: WallClockFn,
    /// Gives a fresh random id.
    pub new_id: IdGenerator,
    /// The share of a source's documents that a sync deletes without a person's word; more is held, from eleven documents on.
    pub max_deleted_share: f64,
    /// Sources that are at work in this process.
    pub running_syncs: Mutex<RunningSyncs>,
}

/// How long a process that gives no sign of life keeps its turn.
const LEASE_DURATION: Duration = Duration::from_secs(60);
/// How often it gives one.
const LEASE_RENEWAL: Duration = Duration::from_secs(15);

/// What this process syncs.
#[derive(Debug, Default)]
pub struct RunningSyncs {
    sources: HashSet<SourceId>,
    /// What it calls itself; drawn at its first sync.
    process: Option<Uuid>,
}

/// Why a sync did not begin, or was not noted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SyncError {
    /// It is being synced already.
    #[error("the source is being synced already")]
    Running,
    /// There is no such source.
    #[error("there is no such source")]
    Unknown,
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// The right to sync a source, held by one at a time.
pub struct SyncPermit {
    syncer: Arc<SourceSyncer>,
    id: SourceId,
}

impl Drop for SyncPermit {
    fn drop(&mut self) {
        self.syncer.running_syncs().sources.remove(&self.id);
    }
}

impl SyncPermit {
    /// Syncs the source to its end and says how it went. What the place refuses is in the report. Should another process have
    /// the turn meanwhile, this one stops where it is, and that one makes it good.
    pub async fn run_sync(self, tenant: &TenantId) -> Result<SyncReport, SyncError> {
        self.run_sync_with(tenant, DeletionPolicy::Guarded).await
    }

    /// The same, where a person may have said that whatever is missing from the list is to go.
    pub async fn run_sync_with(self, tenant: &TenantId, deletions: DeletionPolicy) -> Result<SyncReport, SyncError> {
        let (work, lost) = (
            pin!(self.run_with_lease(tenant, deletions)),
            pin!(self.wait_until_lease_lost()),
        );
        let done = match select(work, lost).await {
            Either::Left((done, _)) => done,
            Either::Right(((), _)) => return Err(SyncError::Running),
        };
        let process = self.syncer.process_id();
        if let Err(error) = self.syncer.sources.release_sync_lease(self.id, process).await {
            tracing::warn!(source = %self.id, %error, "a turn ends by itself");
        }
        done
    }

    /// Gives signs of life; ends when another process has the turn.
    async fn wait_until_lease_lost(&self) {
        let syncer = &self.syncer;
        loop {
            syncer.ingestor.sleep_for(LEASE_RENEWAL).await;
            match syncer.acquire_lease(self.id).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(source = %self.id, %error, "no sign of life could be given"),
            }
        }
    }

    async fn run_with_lease(&self, tenant: &TenantId, deletions: DeletionPolicy) -> Result<SyncReport, SyncError> {
        let syncer = &self.syncer;
        let record = syncer
            .sources
            .get_source(tenant, self.id)
            .await?
            .ok_or(SyncError::Unknown)?;
        let report = match (syncer.source_opener)(&record) {
            Ok(source) => {
                one::SyncRun::begin_sync(syncer, &record, deletions)
                    .await?
                    .run_to_end(source.as_ref())
                    .await
            }
            Err(error) => refused_report((syncer.clock)(), &error, record.last_sync.as_ref()),
        };
        match syncer.sources.save_sync_report(tenant, self.id, report.clone()).await? {
            true => {
                warn_of_failure(self.id, &report);
                Ok(report)
            }
            // It was removed meanwhile; what this sync has taken in goes after it.
            false => {
                syncer.delete_documents(&record).await?;
                Err(SyncError::Unknown)
            }
        }
    }
}

impl SourceSyncer {
    /// Whether a source is at work in this process.
    pub fn is_running(&self, id: SourceId) -> bool {
        self.running_syncs().sources.contains(&id)
    }

    /// The right to sync a source now.
    pub async fn acquire_permit(self: &Arc<Self>, id: SourceId) -> Result<SyncPermit, SyncError> {
        if !self.running_syncs().sources.insert(id) {
            return Err(SyncError::Running);
        }
        let turn = SyncPermit {
            syncer: self.clone(),
            id,
        };
        match self.acquire_lease(id).await? {
            true => Ok(turn),
            false => Err(SyncError::Running),
        }
    }

    async fn acquire_lease(&self, id: SourceId) -> Result<bool, CatalogueError> {
        let holder = SyncLease {
            process: self.process_id(),
            duration: LEASE_DURATION,
        };
        let now = self.ingestor.current_moment();
        self.sources.acquire_sync_lease(id, holder, now).await
    }

    /// What this process calls itself.
    fn process_id(&self) -> Uuid {
        *self.running_syncs().process.get_or_insert_with(|| (self.new_id)())
    }

    /// Removes a source with its documents; false if there was none. What a running sync still takes in, it removes
    /// itself.
    pub async fn remove_source(&self, tenant: &TenantId, id: SourceId) -> Result<bool, SyncError> {
        let Some(record) = self.sources.get_source(tenant, id).await? else {
            return Ok(false);
        };
        let removed = self.sources.remove_source(tenant, id).await?;
        self.delete_documents(&record).await?;
        Ok(removed)
    }

    async fn delete_documents(&self, record: &SourceRecord) -> Result<(), CatalogueError> {
        let principal = (self.operator)(record.tenant.clone());
        let filter = DocumentFilter {
            source: Some(record.name.clone()),
            ..DocumentFilter::default()
        };
        // The first page again and again: what was deleted is listed no more.
        loop {
            let first = PageRequest {
                cursor: None,
                limit: PAGE,
            };
            let page = self
                .catalogue
                .list_documents(&principal.scope(), &filter, &first)
                .await?;
            if page.items.is_empty() {
                break;
            }
            for document in page.items {
                self.ingestor.uploads().delete_document(&principal, document.id).await?;
            }
        }
        (self.notify_workers)();
        Ok(())
    }

    fn running_syncs(&self) -> std::sync::MutexGuard<'_, RunningSyncs> {
        self.running_syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one line that a sync leaves in the log if it ended early or could not take in everything.
fn warn_of_failure(source: SourceId, report: &SyncReport) {
    let failed = report.counts.failed;
    let code = match &report.error {
        Some(error) => error.code.as_str(),
        None if failed > 0 => "items_failed",
        None => return,
    };
    tracing::warn!(target: TARGET, %source, code, failed, "sync failed");
}

/// The report of a source that cannot be opened: what the last sync reported still holds.
fn refused_report(now: time::OffsetDateTime, error: &SourceError, last: Option<&SyncReport>) -> SyncReport {
    let mut report = SyncReport {
        started_at: now,
        ended_at: Some(now),
        job: None,
        counts: Default::default(),
        failures: Vec::new(),
        error: Some(source_job_error(error)),
        held: 0,
    };
    failures::FailureList::default().merge_into_report(last, &mut report);
    report
}

/// A source's error as people read it.
fn source_job_error(error: &SourceError) -> JobError {
    let (code, hint) = match error {
        SourceError::Refused(_) => ("source_refused", "correct the source's settings"),
        SourceError::Broken(_) => ("source_unavailable", "it is tried again at the next sync"),
        SourceError::Gone(_) => ("source_item_gone", "it was removed while it was read"),
    };
    JobError {
        code: code.into(),
        detail: error.to_string(),
        hint: hint.into(),
    }
}
