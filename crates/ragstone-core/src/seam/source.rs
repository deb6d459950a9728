//! Places that documents come from, beyond uploads, and what is kept of them.
//!
//! Invariant: a source gives what is there now and nothing else; what it may not or cannot tell is a gap or an error, never
//! a shorter list, because what is missing from a list is deleted. No credential is kept, only where one stands.

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

/// Failures of one sync that are kept with their reasons; the rest is counted.
pub const MAX_FAILURES: usize = 100;
/// Bytes of each text of a kept failure; the rest is cut off.
pub const MAX_FAILURE_BYTES: usize = 1_000;

/// One thing that a source holds, as its list names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceItem {
    /// Names it within the source: a path, a URL.
    pub key: String,
    /// The URI that its document would have.
    pub uri: String,
    /// The file name, which with the bytes decides the type.
    pub name: String,
    /// What people call it, where the place knows more than a file name.
    pub title: Option<String>,
    /// Where a person can open it.
    pub source_url: Option<String>,
    /// Equal as long as it did not change (size and time, an ETag); none if only its bytes can tell.
    pub marker: Option<String>,
    /// Who may read it there.
    pub access: ItemAccess,
}

/// Who may read an item where it stands. It only narrows whom the source's own readers admit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ItemAccess {
    /// The place has no say in it.
    #[default]
    Unspecified,
    /// Whoever holds one of the readers of each set: a space, and each restricted page above and at the item.
    Sets(Vec<ReaderSet>),
    /// It could not be read, so nobody reads the item until it can.
    Unknown(SourceError),
}

impl ItemAccess {
    /// The reader sets of a document whose source admits `readers`.
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

/// The bytes of an item as they come.
pub struct ItemContent {
    /// What the place says they are; a hint.
    pub media_type: Option<String>,
    /// The bytes.
    pub bytes: BoxStream<'static, Result<Bytes, std::io::Error>>,
}

/// Why a source gave nothing, by what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The place cannot be used as it is set up.
    #[error("{0}")]
    Refused(String),
    /// It may work later.
    #[error("{0}")]
    Broken(String),
    /// It was listed a moment ago and is gone.
    #[error("{0} is gone")]
    Gone(String),
}

/// A place that documents come from.
#[async_trait]
pub trait DocumentSource: Send + Sync {
    /// What the last sync knew: the markers of its items by their keys. Told before the list is asked for, so that a
    /// place which can ask what is new since then does so.
    fn set_known_markers(&self, _markers: BTreeMap<String, Option<String>>) {}

    /// Everything that is there now, each once, and what of it could not be listed. An error means that nothing can be said
    /// about what is there; it ends the list, and nothing follows it.
    fn list_items(&self) -> BoxStream<'_, Result<ListEntry, SourceError>>;

    /// The bytes of an item.
    async fn fetch_item(&self, item: &SourceItem) -> Result<ItemContent, SourceError>;

    /// Items whose bytes may be asked for at once.
    fn max_concurrent_fetches(&self) -> usize {
        1
    }
}

/// What is kept of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its id.
    pub id: SourceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What people call it, once in a tenant; part of its documents' ids.
    pub name: SourceName,
    /// What kind of place: `folder`, `confluence`, `s3`, `web`.
    pub kind: String,
    /// What the kind wants to know. Credentials stand here by reference only: `env:NAME` or `file:PATH`.
    pub settings: Map<String, Value>,
    /// The collection of its documents.
    pub collection: CollectionName,
    /// Who may read its documents.
    pub readers: ReaderSet,
    /// When it is synced by itself, in cron's form, UTC; none for never.
    pub schedule: Option<String>,
    /// Whether it rests: no sync by schedule.
    pub paused: bool,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: OffsetDateTime,
    /// How the last sync went.
    pub last_sync: Option<SyncReport>,
}

/// What a sync found and did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncReport {
    /// When it began.
    pub started_at: OffsetDateTime,
    /// When it ended; none while it runs, or if its process died.
    pub ended_at: Option<OffsetDateTime>,
    /// The batch that its documents' jobs are children of; none as long as it has begun none.
    pub job: Option<JobId>,
    /// How many of what.
    pub counts: SyncCounts,
    /// What could not be taken in, at most [`MAX_FAILURES`].
    pub failures: Vec<ItemFailure>,
    /// Why it did not do all of its work, if so. Nothing is deleted then.
    pub error: Option<JobError>,
    /// Documents that the list no longer names and that were kept, for the sync would have deleted too many or could not
    /// tell what is there. Stays until a sync that comes to its end without holding any.
    #[serde(default)]
    pub held: u64,
}

/// How a sync ended, or that it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// It has not ended: it runs, or its process died.
    Running,
    /// It came to its end; single items may have failed.
    Succeeded,
    /// Deletions were held back: a person decides.
    Held,
    /// It could not be carried out.
    Failed,
}

impl SyncReport {
    /// How the sync ended.
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
    /// The state as the API and the command line write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }
}

/// How many documents a sync did what with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCounts {
    /// Seen for the first time.
    pub new: u64,
    /// With other bytes than before, or in another place.
    pub changed: u64,
    /// As they were.
    pub unchanged: u64,
    /// Gone.
    pub deleted: u64,
    /// Not taken in.
    pub failed: u64,
}

/// An item that was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFailure {
    /// Which.
    pub uri: String,
    /// Why.
    pub error: JobError,
}

impl ItemFailure {
    /// A failure whose texts are bounded: servers and file names write them.
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

/// The text, or its first [`MAX_FAILURE_BYTES`] bytes with a mark that more was there.
fn truncate_text(text: &str) -> String {
    if text.len() <= MAX_FAILURE_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_FAILURE_BYTES)])
}

/// What is remembered of an item between two syncs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemState {
    /// The URI of its document, which stays when the item moves.
    pub uri: String,
    /// [`SourceItem::marker`] when it was taken in.
    pub marker: Option<String>,
    /// Hash of its bytes, in hexadecimal digits.
    pub hash: String,
}

/// What is remembered of all items, by their keys.
pub type ItemStates = BTreeMap<String, ItemState>;

/// Changes to a source; `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourcePatch {
    /// Another schedule, or none.
    pub schedule: Option<Option<String>>,
    /// Whether it rests.
    pub paused: Option<bool>,
    /// Other settings, all of them.
    pub settings: Option<Map<String, Value>>,
    /// Other readers; they hold for each document from its next sync on.
    pub readers: Option<ReaderSet>,
}

impl SourcePatch {
    /// Makes the changes.
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

/// Who syncs a source, and until when nobody else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncLease {
    /// The process.
    pub process: Uuid,
    /// How long its turn lasts without a sign of life.
    pub duration: Duration,
}

/// Turns in the memory of the one process that has a store.
#[derive(Debug, Default)]
pub struct SyncLeases(Mutex<BTreeMap<SourceId, (Uuid, Duration)>>);

impl SyncLeases {
    /// [`SourceStore::acquire_sync_lease`].
    pub fn acquire(&self, id: SourceId, holder: SyncLease, now: Duration) -> bool {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = turns.get(&id);
        if held.is_some_and(|(process, until)| *process != holder.process && *until > now) {
            return false;
        }
        turns.insert(id, (holder.process, now + holder.duration));
        true
    }

    /// [`SourceStore::release_sync_lease`].
    pub fn release(&self, id: SourceId, process: Uuid) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(&id).is_some_and(|(holder, _)| *holder == process) {
            turns.remove(&id);
        }
    }
}

/// Sources that are asked for at once where one is looked for by its name.
const SOURCES_AT_ONCE: usize = 1_000;

/// Keeps sources. What is another tenant's is as if it were not there.
#[async_trait]
pub trait SourceStore: Send + Sync {
    /// Keeps a source; false if its name is taken in its tenant, and nothing was done.
    async fn add_source(&self, source: SourceRecord) -> CatalogueResult<bool>;

    /// A source of a tenant.
    async fn get_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Option<SourceRecord>>;

    /// Sources by their names: of a tenant, or of all for the clock that starts syncs and for nothing else.
    async fn list_sources(
        &self,
        tenant: Option<&TenantId>,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<SourceRecord>>;

    /// The source that a tenant calls `name`.
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

    /// Changes a source; none if there is no such one.
    async fn patch_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        patch: SourcePatch,
    ) -> CatalogueResult<Option<SourceRecord>>;

    /// Notes how a sync goes; false if the source is gone meanwhile.
    async fn save_sync_report(&self, tenant: &TenantId, id: SourceId, report: SyncReport) -> CatalogueResult<bool>;

    /// What is remembered of its items.
    async fn load_item_states(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<ItemStates>;

    /// Remembers other things of its items; false if the source is gone meanwhile.
    async fn save_item_states(&self, tenant: &TenantId, id: SourceId, memory: ItemStates) -> CatalogueResult<bool>;

    /// Takes the turn to sync a source, or prolongs it; false while another process has it. Of a process that died, it ends
    /// when its time has passed.
    async fn acquire_sync_lease(&self, id: SourceId, holder: SyncLease, now: ClockReading) -> CatalogueResult<bool>;

    /// Ends a turn, if this process has it.
    async fn release_sync_lease(&self, id: SourceId, process: Uuid) -> CatalogueResult<()>;

    /// Forgets a source and what is remembered of its items; false if there was none.
    async fn remove_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<bool>;
}
