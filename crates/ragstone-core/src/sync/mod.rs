//! Syncing a source: what it holds now becomes what the library holds of it.
//!
//! Invariant: nothing is deleted unless the source's list came to its end; every step may be repeated, so a sync that
//! was cut off is made good by the next one. One process syncs a source once at a time.

mod one;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::access::Principal;
use crate::document::JobError;
use crate::id::{SourceId, TenantId};
use crate::ingest::{Clock, Ingestor, NewId};
use crate::seam::catalogue::{DocumentFilter, PageRequest};
use crate::seam::source::{Source, SourceError, SourceRecord, SourceStore, SyncReport};
use crate::seam::{Catalogue, CatalogueError};

/// Documents that are asked for at once.
const PAGE: usize = 1_000;

/// Makes the place of a record; refuses settings that are wrong.
pub type OpenSource = Arc<dyn Fn(&SourceRecord) -> Result<Arc<dyn Source>, SourceError> + Send + Sync>;

/// Syncs sources.
pub struct Syncer {
    /// Keeps the sources.
    pub sources: Arc<dyn SourceStore>,
    /// Keeps the documents.
    pub catalogue: Arc<dyn Catalogue>,
    /// Takes documents in.
    pub ingestor: Arc<Ingestor>,
    /// Makes a place of what is kept of it.
    pub open: OpenSource,
    /// In whose name a tenant's sources are synced.
    pub operator: fn(TenantId) -> Principal,
    /// Rung when jobs were queued.
    pub doorbell: Arc<dyn Fn() + Send + Sync>,
    /// Tells the time.
    pub clock: Clock,
    /// Gives a fresh random id.
    pub new_id: NewId,
    /// Sources that are at work.
    pub at_work: Mutex<HashSet<SourceId>>,
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
pub struct Turn {
    syncer: Arc<Syncer>,
    id: SourceId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.syncer.at_work().remove(&self.id);
    }
}

impl Turn {
    /// Syncs the source to its end and says how it went. What the place refuses is in the report.
    pub async fn sync(self, tenant: &TenantId) -> Result<SyncReport, SyncError> {
        let syncer = &self.syncer;
        let record = syncer
            .sources
            .source(tenant, self.id)
            .await?
            .ok_or(SyncError::Unknown)?;
        let report = match (syncer.open)(&record) {
            Ok(source) => {
                one::Sync::begin(syncer, &record)
                    .await?
                    .run(source.as_ref())
                    .await
            }
            Err(error) => refused((syncer.clock)(), &error),
        };
        match syncer.sources.note_sync(tenant, self.id, report.clone()).await? {
            true => Ok(report),
            // It was removed meanwhile; what this sync has taken in goes after it.
            false => {
                syncer.delete_documents(&record).await?;
                Err(SyncError::Unknown)
            }
        }
    }
}

impl Syncer {
    /// Whether a source is at work in this process.
    pub fn is_running(&self, id: SourceId) -> bool {
        self.at_work().contains(&id)
    }

    /// The right to sync a source now.
    pub fn turn(self: &Arc<Self>, id: SourceId) -> Result<Turn, SyncError> {
        match self.at_work().insert(id) {
            true => Ok(Turn {
                syncer: self.clone(),
                id,
            }),
            false => Err(SyncError::Running),
        }
    }

    /// Removes a source with its documents; false if there was none. What a running sync still takes in, it removes
    /// itself.
    pub async fn remove(&self, tenant: &TenantId, id: SourceId) -> Result<bool, SyncError> {
        let Some(record) = self.sources.source(tenant, id).await? else {
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
                .documents(&principal.scope(), &filter, &first)
                .await?;
            if page.items.is_empty() {
                break;
            }
            for document in page.items {
                self.ingestor.delete(&principal, document.id).await?;
            }
        }
        (self.doorbell)();
        Ok(())
    }

    fn at_work(&self) -> std::sync::MutexGuard<'_, HashSet<SourceId>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(now: time::OffsetDateTime, error: &SourceError) -> SyncReport {
    SyncReport {
        started_at: now,
        ended_at: Some(now),
        job: None,
        counts: Default::default(),
        failures: Vec::new(),
        error: Some(trouble(error)),
    }
}

/// A source's error as people read it.
fn trouble(error: &SourceError) -> JobError {
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
