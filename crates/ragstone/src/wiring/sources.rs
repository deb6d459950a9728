//! Opens sources of each kind, and runs their schedules.

use std::sync::Arc;
use std::time::Duration;

use ragstone_adapters::blob::s3::{S3Options, open_bucket};
use ragstone_adapters::openai::ApiSecret;
use ragstone_adapters::source::bucket::{BucketSettings, BucketSource};
use ragstone_adapters::source::confluence::{ConfluenceRetrySettings, ConfluenceSettings, ConfluenceSource};
use ragstone_adapters::source::folder::FolderSource;
use ragstone_adapters::source::guard::{FetchGuard, GuardOptions};
use ragstone_adapters::source::web::WebSource;
use ragstone_core::seam::catalogue::PageRequest;
use ragstone_core::seam::source::{DocumentSource, SourceError, SourceRecord};
use ragstone_core::sync::{SourceOpener, SourceSyncer, SyncError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::options;
use crate::config::{SecretReferences, Settings};
use crate::schedule::CronSchedule;

/// Interval of checks for due schedules; their resolution is a minute.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Sources that are read at once.
const PAGE: usize = 1_000;

/// What is needed to open a source.
#[derive(Clone)]
pub struct SourceFactory {
    /// The variables that secrets by reference may name.
    pub references: SecretReferences,
    /// Which third-party addresses may be fetched.
    pub fetch: GuardOptions,
}

impl SourceFactory {
    /// Takes both from the settings.
    pub fn from_settings(settings: &Settings) -> Self {
        Self {
            references: settings.references.clone(),
            fetch: options::guard_options(settings),
        }
    }

    /// The function that opens a source from its record.
    pub fn into_opener(self) -> SourceOpener {
        Arc::new(move |record| self.open_source(record))
    }

    fn open_source(&self, record: &SourceRecord) -> Result<Arc<dyn DocumentSource>, SourceError> {
        match record.kind.as_str() {
            "folder" => Ok(Arc::new(FolderSource::new(parse_settings(record)?)?)),
            "confluence" => self.open_confluence(parse_settings(record)?),
            "s3" => self.open_bucket(parse_settings(record)?),
            "web" => Ok(Arc::new(WebSource::new(parse_settings(record)?, self.build_guard()?)?)),
            other => Err(SourceError::Refused(format!(
                "{other:?} is no kind of source: folder, confluence, s3 and web are"
            ))),
        }
    }

    fn open_confluence(&self, settings: ConfluenceSettings) -> Result<Arc<dyn DocumentSource>, SourceError> {
        let token = self.resolve_secret(settings.token.as_deref())?;
        let opened = ConfluenceSource::new(
            settings,
            token.map(ApiSecret::new),
            ConfluenceRetrySettings::default(),
            self.build_guard()?,
        )?;
        Ok(Arc::new(opened))
    }

    fn open_bucket(&self, settings: BucketSettings) -> Result<Arc<dyn DocumentSource>, SourceError> {
        settings.check()?;
        let address = settings.uri_prefix();
        let options = S3Options {
            access_key_id: self
                .resolve_secret(settings.access_key_id.as_deref())?
                .unwrap_or_default(),
            secret_access_key: self
                .resolve_secret(settings.secret_access_key.as_deref())?
                .unwrap_or_default(),
            bucket: settings.bucket,
            prefix: settings.prefix,
            endpoint: settings.endpoint,
            region: settings.region,
            ..S3Options::default()
        };
        let store = open_bucket(&options).map_err(|error| SourceError::Refused(error.to_string()))?;
        Ok(Arc::new(BucketSource::new(store, address)))
    }

    /// Resolves a reference to a secret, if there is one.
    fn resolve_secret(&self, reference: Option<&str>) -> Result<Option<String>, SourceError> {
        let secret = reference.map(|named| self.references.resolve_secret(named)).transpose();
        secret.map_err(|error| SourceError::Refused(error.to_string()))
    }

    fn build_guard(&self) -> Result<FetchGuard, SourceError> {
        FetchGuard::new(self.fetch.clone()).map_err(|error| SourceError::Broken(error.to_string()))
    }
}

fn parse_settings<T: DeserializeOwned>(record: &SourceRecord) -> Result<T, SourceError> {
    let settings = Value::Object(record.settings.clone());
    serde_json::from_value(settings).map_err(|error| SourceError::Refused(format!("settings: {error}")))
}

/// Syncs due sources in the background until the task is aborted.
pub fn run_schedules(syncer: Arc<SourceSyncer>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if let Err(error) = start_due_syncs(&syncer).await {
                tracing::warn!(%error, "schedules are looked at again later");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

async fn start_due_syncs(syncer: &Arc<SourceSyncer>) -> Result<(), SyncError> {
    let mut cursor = None;
    loop {
        let page = PageRequest { cursor, limit: PAGE };
        let found = syncer.sources.list_sources(None, &page).await?;
        for record in found.items.into_iter().filter(|record| is_due(syncer, record)) {
            let turn = match syncer.acquire_permit(record.id).await {
                Ok(turn) => turn,
                Err(SyncError::Running) => continue,
                Err(error) => return Err(error),
            };
            tokio::spawn(async move {
                if let Err(error) = turn.run_sync(&record.tenant).await {
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

fn is_due(syncer: &SourceSyncer, record: &SourceRecord) -> bool {
    let schedule = record.schedule.as_deref().filter(|_| !record.paused);
    let Some(Ok(schedule)) = schedule.map(str::parse::<CronSchedule>) else {
        return false;
    };
    let last = record
        .last_sync
        .as_ref()
        .map_or(record.created_at, |sync| sync.started_at);
    schedule.is_due(last, (syncer.clock)())
}
