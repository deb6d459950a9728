//! Sources: what each kind of place is made of, and the clock that syncs them.

use std::sync::Arc;
use std::time::Duration;

use ragstone_adapters::blob::s3::{S3Options, bucket};
use ragstone_adapters::openai::Secret;
use ragstone_adapters::source::bucket::{Bucket, BucketSettings};
use ragstone_adapters::source::confluence::{Confluence, ConfluenceSettings, Patience};
use ragstone_adapters::source::folder::Folder;
use ragstone_adapters::source::guard::{Guard, GuardOptions};
use ragstone_adapters::source::web::Web;
use ragstone_core::seam::catalogue::PageRequest;
use ragstone_core::seam::source::{Source, SourceError, SourceRecord};
use ragstone_core::sync::{OpenSource, SyncError, Syncer};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::options;
use crate::config::{References, Settings};
use crate::schedule::Schedule;

/// How often schedules are looked at; they name minutes.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Sources that are asked for at once.
const PAGE: usize = 1_000;

/// What places are opened with.
#[derive(Clone)]
pub struct Tools {
    /// What secrets by reference may name.
    pub references: References,
    /// What may be fetched where somebody else names it.
    pub fetch: GuardOptions,
}

impl Tools {
    /// Those of the settings.
    pub fn of(settings: &Settings) -> Self {
        Self {
            references: settings.references.clone(),
            fetch: options::fetch(settings),
        }
    }

    /// Opens the places that records tell of.
    pub fn opener(self) -> OpenSource {
        Arc::new(move |record| self.open(record))
    }

    fn open(&self, record: &SourceRecord) -> Result<Arc<dyn Source>, SourceError> {
        match record.kind.as_str() {
            "folder" => Ok(Arc::new(Folder::new(settings(record)?)?)),
            "confluence" => self.confluence(settings(record)?),
            "s3" => self.bucket(settings(record)?),
            "web" => Ok(Arc::new(Web::new(settings(record)?, self.guard()?)?)),
            other => Err(SourceError::Refused(format!(
                "{other:?} is no kind of source: folder, confluence, s3 and web are"
            ))),
        }
    }

    fn confluence(&self, settings: ConfluenceSettings) -> Result<Arc<dyn Source>, SourceError> {
        let token = self.secret(settings.token.as_deref())?;
        let opened = Confluence::new(settings, token.map(Secret::new), Patience::default(), self.guard()?)?;
        Ok(Arc::new(opened))
    }

    fn bucket(&self, settings: BucketSettings) -> Result<Arc<dyn Source>, SourceError> {
        settings.check()?;
        let address = settings.address();
        let options = S3Options {
            access_key_id: self.secret(settings.access_key_id.as_deref())?.unwrap_or_default(),
            secret_access_key: self.secret(settings.secret_access_key.as_deref())?.unwrap_or_default(),
            bucket: settings.bucket,
            prefix: settings.prefix,
            endpoint: settings.endpoint,
            region: settings.region,
            ..S3Options::default()
        };
        let store = bucket(&options).map_err(|error| SourceError::Refused(error.to_string()))?;
        Ok(Arc::new(Bucket::new(store, address)))
    }

    /// The secret that a reference names, if there is one.
    fn secret(&self, reference: Option<&str>) -> Result<Option<String>, SourceError> {
        let secret = reference.map(|named| self.references.secret(named)).transpose();
        secret.map_err(|error| SourceError::Refused(error.to_string()))
    }

    fn guard(&self) -> Result<Guard, SourceError> {
        Guard::new(self.fetch.clone()).map_err(|error| SourceError::Broken(error.to_string()))
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
            let turn = match syncer.turn(record.id).await {
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
