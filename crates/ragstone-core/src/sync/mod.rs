//! Syncs a source: the library's documents follow the items that the source has now.
//!
//! Invariant: nothing is deleted unless the source's list is complete, and not unusually much without a person's
//! permission. Every step may be repeated, so the next sync completes one that was interrupted. Only one process syncs
//! a source at a time: it holds a lease in the store, which expires if the process dies.

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

/// Documents that are listed in one call.
const PAGE: usize = 1_000;

/// Opens the source of a record; refuses wrong settings.
pub type SourceOpener = Arc<dyn Fn(&SourceRecord) -> Result<Arc<dyn DocumentSource>, SourceError> + Send + Sync>;

/// Syncs sources into the library.
pub struct SourceSyncer {
    /// Store of the sources and their item states.
    pub sources: Arc<dyn SourceStore>,
    /// Store of the documents.
    pub catalogue: Arc<dyn Catalogue>,
    /// Accepts, changes and deletes documents.
    pub ingestor: Arc<Ingestor>,
    /// Opens a source from its record.
    pub source_opener: SourceOpener,
    /// The principal that syncs a tenant's sources.
    pub operator: fn(TenantId) -> Principal,
    /// Wakes the workers after jobs were queued.
    pub notify_workers: Arc<dyn Fn() + Send + Sync>,
    /// The current wall-clock time.
    pub clock: WallClockFn,
    /// Returns a fresh random id.
    pub new_id: IdGenerator,
    /// Share of a source's documents (0 to 1) that a sync may delete without a person's permission; more is held, from
    /// eleven documents on.
    pub max_deleted_share: f64,
    /// Sources that this process is syncing.
    pub running_syncs: Mutex<RunningSyncs>,
}

/// How long a lease lasts after its last renewal.
const LEASE_DURATION: Duration = Duration::from_secs(60);
/// How often a lease is renewed; a renewal that fails is tried again at the next interval.
const LEASE_RENEWAL: Duration = Duration::from_secs(15);

/// The sources that this process is syncing, and its own id.
#[derive(Debug, Default)]
pub struct RunningSyncs {
    sources: HashSet<SourceId>,
    /// Random id of this process, drawn at its first sync.
    process: Option<Uuid>,
}

/// Why a sync did not start, or its report was not saved.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SyncError {
    /// The source is being synced already.
    #[error("the source is being synced already")]
    Running,
    /// There is no such source.
    #[error("there is no such source")]
    Unknown,
    /// A call to the catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// The permit to sync a source; there is only one at a time. Dropping it allows this process another sync.
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
    /// Syncs the source to its end and returns the report, which contains the errors of the source itself. If another
    /// process gets the lease meanwhile, this one stops with [`SyncError::Running`], and the other completes the work.
    pub async fn run_sync(self, tenant: &TenantId) -> Result<SyncReport, SyncError> {
        self.run_sync_with(tenant, DeletionPolicy::Guarded).await
    }

    /// Like [`Self::run_sync`], where a person may have permitted the deletion of everything missing from the list.
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

    /// Renews the lease; returns when another process holds it.
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
            // The source was removed meanwhile: delete what this sync has taken in.
            false => {
                syncer.delete_documents(&record).await?;
                Err(SyncError::Unknown)
            }
        }
    }
}

impl SourceSyncer {
    /// Whether this process is syncing a source.
    pub fn is_running(&self, id: SourceId) -> bool {
        self.running_syncs().sources.contains(&id)
    }

    /// Acquires the permit to sync a source; fails with [`SyncError::Running`] if another sync holds it.
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

    /// Id of this process in its leases.
    fn process_id(&self) -> Uuid {
        *self.running_syncs().process.get_or_insert_with(|| (self.new_id)())
    }

    /// Removes a source with its documents; false if there was none. A running sync itself removes what it still takes
    /// in.
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
        // Always the first page: deleted documents are no longer listed.
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

/// Logs one line for a sync that ended early or in which items failed.
fn warn_of_failure(source: SourceId, report: &SyncReport) {
    let failed = report.counts.failed;
    let code = match &report.error {
        Some(error) => error.code.as_str(),
        None if failed > 0 => "items_failed",
        None => return,
    };
    tracing::warn!(target: TARGET, %source, code, failed, "sync failed");
}

/// The report of a source that cannot be opened: the failures of the last sync stay in it.
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

/// An error of a source, with a code and a hint for people.
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
