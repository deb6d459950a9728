//! Sources: what each kind of place is made of, and the clock that syncs them.

use std::sync::Arc;
use std::time::Duration;

use ragstone_adapters::source::folder::Folder;
use ragstone_core::seam::catalogue::PageRequest;
use ragstone_core::seam::source::{Source, SourceError, SourceRecord};
use ragstone_core::sync::{SyncError, Syncer};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::schedule::Schedule;

/// How often schedules are looked at; they name minutes.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Sources that are asked for at once.
const PAGE: usize = 1_000;

/// The place that a record tells of.
pub fn open(record: &SourceRecord) -> Result<Arc<dyn Source>, SourceError> {
    match record.kind.as_str() {
        "folder" => Ok(Arc::new(Folder::new(settings(record)?)?)),
        other => Err(SourceError::Refused(format!(
            "{other:?} is no kind of source: folder is one"
        ))),
    }
}

fn settings<T: DeserializeOwned>(record: &SourceRecord) -> Result<T, SourceError> {
    let settings = Value::Object(record.settings.clone());
    serde_json::from_value(settings).map_err(|error| SourceError::Refused(format!("settings: {error}")))
}

/// Syncs what is due, in the background, until it is aborted.
pub fn keep_schedules(syncer: Arc<Syncer>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if let Err(error) = start_due(&syncer).await {
                tracing::warn!(%error, "schedules are looked at again later");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

async fn start_due(syncer: &Arc<Syncer>) -> Result<(), SyncError> {
    let mut cursor = None;
    loop {
        let page = PageRequest { cursor, limit: PAGE };
        let found = syncer.sources.sources(None, &page).await?;
        for record in found.items.into_iter().filter(|record| is_due(syncer, record)) {
            let turn = match syncer.turn(record.id) {
                Ok(turn) => turn,
                Err(SyncError::Running) => continue,
                Err(error) => return Err(error),
            };
            tokio::spawn(async move {
                if let Err(error) = turn.sync(&record.tenant).await {
                    tracing::warn!(source = %record.id, %error, "a sync was not carried out");
                }
            });
        }
        match found.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

fn is_due(syncer: &Syncer, record: &SourceRecord) -> bool {
    let schedule = record.schedule.as_deref().filter(|_| !record.paused);
    let Some(Ok(schedule)) = schedule.map(str::parse::<Schedule>) else {
        return false;
    };
    let last = record
        .last_sync
        .as_ref()
        .map_or(record.created_at, |sync| sync.started_at);
    schedule.is_due(last, (syncer.clock)())
}
