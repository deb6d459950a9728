//! Sources: places beside uploads that documents are synced from, and what is stored about them.
//!
//! Invariant: a source lists exactly what is there at the moment. What it cannot list is a gap or an error, never a
//! shorter list, because items missing from a list are deleted. No credential is stored, only a reference to one.

mod listing;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::catalogue::{CatalogueResult, ClockReading, ListPage, PageRequest};
use crate::access::{Reader, ReaderSet};
use crate::document::JobError;
use crate::id::{CollectionName, JobId, SourceId, SourceName, TenantId};

pub use listing::{HiddenItems, ListEntry, ListGap};

/// Most failures of one sync that are stored with their reasons; further ones are only counted.
pub const MAX_FAILURES: usize = 100;
/// Most bytes of each text of a stored failure; the rest is cut off.
pub const MAX_FAILURE_BYTES: usize = 1_000;

/// One item of a source, as its list describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceItem {
    /// Key within the source, such as a path or a URL.
    pub key: String,
    /// URI of the item's document.
    pub uri: String,
    /// The file name, which with the bytes decides the type.
    pub name: String,
    /// Title, where the source knows more than a file name.
    pub title: Option<String>,
    /// Address where a person can open the item.
    pub source_url: Option<String>,
    /// Equal while the item is unchanged (size and time, an ETag); `None` if only its bytes can show a change.
    pub marker: Option<String>,
    /// Who may read the item in its source.
    pub access: ItemAccess,
}

/// Who may read an item in its source. This only narrows the readers that the source record admits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ItemAccess {
    /// The source has no access rights of its own.
    #[default]
    Unspecified,
    /// Callers need one reader of each set: a space, and each restricted page at and above the item.
    Sets(Vec<ReaderSet>),
    /// The rights could not be read, so nobody may read the item until they can.
    Unknown(SourceError),
}

impl ItemAccess {
    /// The reader sets of the item's document, for a source that admits `readers`.
    pub fn effective_reader_sets(&self, readers: &ReaderSet) -> Vec<ReaderSet> {
        let sets = match self {
            Self::Unspecified => &[],
            Self::Sets(sets) => sets.as_slice(),
            Self::Unknown(_) => return vec![ReaderSet::new()],
        };
        let mut all: Vec<ReaderSet> = Vec::new();
        for set in std::iter::once(readers).chain(sets) {
            // A set that everyone passes narrows nothing, and an index knows a few sets only.
            if !set.contains(&Reader::everyone()) && !all.contains(set) {
                all.push(set.clone());
            }
        }
        match all.is_empty() {
            true => vec![readers.clone()],
            false => all,
        }
    }
}

/// The content of an item as a stream.
pub struct ItemContent {
    /// Media type that the source declares; a hint.
    pub media_type: Option<String>,
    /// The bytes, in order.
    pub bytes: BoxStream<'static, Result<Bytes, std::io::Error>>,
}

/// Error of a source, by what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The source cannot be used with its current settings.
    #[error("{0}")]
    Refused(String),
    /// A temporary failure; a later attempt may succeed.
    #[error("{0}")]
    Broken(String),
    /// The item was listed but no longer exists.
    #[error("{0} is gone")]
    Gone(String),
}

/// A place that documents are synced from.
#[async_trait]
pub trait DocumentSource: Send + Sync {
    /// Passes the markers that the last sync stored, by item key. Called before `list_items`, so that a source with a
    /// change feed can ask only for changes.
    fn set_known_markers(&self, _markers: BTreeMap<String, Option<String>>) {}

    /// Lists every item once, and a gap for each part that could not be listed. An error means that the content of the
    /// source is unknown; it ends the stream.
    fn list_items(&self) -> BoxStream<'_, Result<ListEntry, SourceError>>;

    /// Fetches the bytes of an item.
    async fn fetch_item(&self, item: &SourceItem) -> Result<ItemContent, SourceError>;

    /// How many items may be fetched concurrently.
    fn max_concurrent_fetches(&self) -> usize {
        1
    }
}

/// A source as it is configured and stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Id of the source.
    pub id: SourceId,
    /// Tenant that owns the source.
    pub tenant: TenantId,
    /// Name, unique within the tenant; part of the ids of its documents.
    pub name: SourceName,
    /// Kind of source: `folder`, `confluence`, `s3` or `web`.
    pub kind: String,
    /// Settings of this kind of source. Credentials appear only by reference: `env:NAME` or `file:PATH`.
    pub settings: Map<String, Value>,
    /// The collection of its documents.
    pub collection: CollectionName,
    /// Readers of its documents.
    pub readers: ReaderSet,
    /// Schedule of automatic syncs as a cron expression in UTC; `None` for manual syncs only.
    pub schedule: Option<String>,
    /// Whether scheduled syncs are paused.
    pub paused: bool,
    /// Subject of the caller that created the source.
    pub created_by: String,
    /// Time at which the source was created.
    pub created_at: OffsetDateTime,
    /// Report of the last sync; `None` before the first.
    pub last_sync: Option<SyncReport>,
}

/// Progress and result of a sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncReport {
    /// Time at which the sync began.
    pub started_at: OffsetDateTime,
    /// Time at which the sync ended; `None` while it runs, or if its process died.
    pub ended_at: Option<OffsetDateTime>,
    /// The batch job whose children are the documents' jobs; `None` until the first document is queued.
    pub job: Option<JobId>,
    /// Number of items by result.
    pub counts: SyncCounts,
    /// Items that could not be ingested, at most [`MAX_FAILURES`].
    pub failures: Vec<ItemFailure>,
    /// Why the sync did not complete; `None` if it did. Nothing is deleted after an error.
    pub error: Option<JobError>,
    /// Documents that are missing from the list but were kept, because the sync would have deleted too many or could
    /// not tell what is there. Reset only by a complete sync that holds none back.
    #[serde(default)]
    pub held: u64,
}

/// State of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// The sync has not ended: it runs, or its process died.
    Running,
    /// The sync completed; single items may have failed.
    Succeeded,
    /// Deletions were held back until a person decides.
    Held,
    /// The sync could not be completed.
    Failed,
}

impl SyncReport {
    /// The state that follows from end time, held documents and error.
    pub fn state(&self) -> SyncState {
        match (self.ended_at, self.held, &self.error) {
            (None, ..) => SyncState::Running,
            (_, 1.., _) => SyncState::Held,
            (_, 0, Some(_)) => SyncState::Failed,
            (_, 0, None) => SyncState::Succeeded,
        }
    }
}

impl SyncState {
    /// Name of the state in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }
}

/// Number of items of a sync, by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCounts {
    /// Items seen for the first time.
    pub new: u64,
    /// Items with other bytes than before, or at another place.
    pub changed: u64,
    /// Items that did not change.
    pub unchanged: u64,
    /// Items that are gone; their documents are deleted.
    pub deleted: u64,
    /// Items that could not be ingested.
    pub failed: u64,
}

/// An item that could not be ingested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFailure {
    /// URI of the item's document.
    pub uri: String,
    /// Reason of the failure.
    pub error: JobError,
}

impl ItemFailure {
    /// Truncates both texts to [`MAX_FAILURE_BYTES`], because servers and file names control their length.
    pub fn with_bounded_texts(uri: &str, error: JobError) -> Self {
        let error = JobError {
            detail: truncate_text(&error.detail),
            ..error
        };
        Self {
            uri: truncate_text(uri),
            error,
        }
    }
}

/// The text, or its first [`MAX_FAILURE_BYTES`] bytes followed by `…`.
fn truncate_text(text: &str) -> String {
    if text.len() <= MAX_FAILURE_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_FAILURE_BYTES)])
}

/// State of an item, stored between syncs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemState {
    /// URI of the item's document; it stays the same when the item moves.
    pub uri: String,
    /// [`SourceItem::marker`] of the ingested version.
    pub marker: Option<String>,
    /// Hash of the ingested bytes, in hexadecimal.
    pub hash: String,
}

/// States of all items of a source, by item key.
pub type ItemStates = BTreeMap<String, ItemState>;

/// Changes to a source; `None` keeps the present value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourcePatch {
    /// New schedule; `Some(None)` removes it.
    pub schedule: Option<Option<String>>,
    /// Whether to pause scheduled syncs.
    pub paused: Option<bool>,
    /// New settings, which replace all present ones.
    pub settings: Option<Map<String, Value>>,
    /// New readers; each document gets them at the next sync.
    pub readers: Option<ReaderSet>,
}

impl SourcePatch {
    /// Applies the changes to `source`.
    pub fn apply_to_record(self, source: &mut SourceRecord) {
        if let Some(schedule) = self.schedule {
            source.schedule = schedule;
        }
        if let Some(paused) = self.paused {
            source.paused = paused;
        }
        if let Some(settings) = self.settings {
            source.settings = settings;
        }
        if let Some(readers) = self.readers {
            source.readers = readers;
        }
    }
}

/// A request for the exclusive right to sync a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncLease {
    /// Id of the process that takes the lease.
    pub process: Uuid,
    /// How long the lease lasts unless it is renewed.
    pub duration: Duration,
}

/// Sync leases in memory, for stores that only one process uses.
#[derive(Debug, Default)]
pub struct SyncLeases(Mutex<BTreeMap<SourceId, (Uuid, Duration)>>);

impl SyncLeases {
    /// Takes or renews a lease, see [`SourceStore::acquire_sync_lease`].
    pub fn acquire(&self, id: SourceId, holder: SyncLease, now: Duration) -> bool {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = turns.get(&id);
        if held.is_some_and(|(process, until)| *process != holder.process && *until > now) {
            return false;
        }
        turns.insert(id, (holder.process, now + holder.duration));
        true
    }

    /// Releases a lease, see [`SourceStore::release_sync_lease`].
    pub fn release(&self, id: SourceId, process: Uuid) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(&id).is_some_and(|(holder, _)| *holder == process) {
            turns.remove(&id);
        }
    }
}

/// Page size of the search for a source by name.
const SOURCES_AT_ONCE: usize = 1_000;

/// Stores sources. A source of another tenant is treated as not existing.
#[async_trait]
pub trait SourceStore: Send + Sync {
    /// Stores a source; false, without any change, if its name is taken in its tenant.
    async fn add_source(&self, source: SourceRecord) -> CatalogueResult<bool>;

    /// A source of a tenant, by id.
    async fn get_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Option<SourceRecord>>;

    /// Sources ordered by name: of one tenant, or of all tenants, which is only for the scheduler of syncs.
    async fn list_sources(
        &self,
        tenant: Option<&TenantId>,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<SourceRecord>>;

    /// The source named `name` of a tenant.
    async fn find_source_by_name(&self, tenant: &TenantId, name: &SourceName) -> CatalogueResult<Option<SourceRecord>> {
        let mut cursor = None;
        loop {
            let page = PageRequest {
                cursor,
                limit: SOURCES_AT_ONCE,
            };
            let found = self.list_sources(Some(tenant), &page).await?;
            let named = found.items.into_iter().find(|source| source.name == *name);
            match (named, found.next_cursor) {
                (None, Some(next)) => cursor = Some(next),
                (named, _) => return Ok(named),
            }
        }
    }

    /// Changes a source and returns it; `None` if it does not exist.
    async fn patch_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        patch: SourcePatch,
    ) -> CatalogueResult<Option<SourceRecord>>;

    /// Stores the report of a running or ended sync; false if the source was removed meanwhile.
    async fn save_sync_report(&self, tenant: &TenantId, id: SourceId, report: SyncReport) -> CatalogueResult<bool>;

    /// The item states stored by the last sync.
    async fn load_item_states(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<ItemStates>;

    /// Replaces the item states; false if the source was removed meanwhile.
    async fn save_item_states(&self, tenant: &TenantId, id: SourceId, memory: ItemStates) -> CatalogueResult<bool>;

    /// Takes or renews the lease to sync a source; false while another process holds it. The lease of a dead process
    /// expires.
    async fn acquire_sync_lease(&self, id: SourceId, holder: SyncLease, now: ClockReading) -> CatalogueResult<bool>;

    /// Releases the lease if this process holds it.
    async fn release_sync_lease(&self, id: SourceId, process: Uuid) -> CatalogueResult<()>;

    /// Removes a source with its item states; false if there was none.
    async fn remove_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<bool>;
}
