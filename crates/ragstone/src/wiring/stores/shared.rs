//! Opens shared stores: PostgreSQL, Qdrant, a bucket or a folder that every process sees, and a notifier between them.
//!
//! Invariant: what a process keeps on its own machine may be lost: the embedding cache, and the name by which its jobs
//! are taken back at once after a crash.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::FutureExt;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use ragstone_adapters::blob::s3::{S3Options, open_bucket};
use ragstone_adapters::catalogue::postgres::{self, PostgresCatalogue, PostgresError, PostgresOptions};
use ragstone_adapters::data_dir::{DataDirectory, DataDirectoryError};
use ragstone_adapters::doorbell::RedisNotifier;
use ragstone_adapters::index::qdrant::{ApiKey, QdrantIndex, QdrantOptions};
use ragstone_core::library::mark::StoreOwners;
use ragstone_core::seam::Notifier;
use uuid::Uuid;

use super::super::trial::{self, with_time_limit};
use super::claim::{begin_recovery, claim_library};
use super::local::{open_cache, open_folder};
use super::{OpenPurpose, StoreLocation, StoreProbe, StoreSet};
use crate::config::{BlobLocation, Settings, SharedStores};

/// How long a starting server waits for its database (in all, and between two tries).
const START_PATIENCE: Duration = Duration::from_secs(60);
const START_WAIT: Duration = Duration::from_secs(1);
/// How long `doctor` waits for the notifier to listen.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);
/// Channel of the notifier in Redis.
const CHANNEL: &str = "ragstone:doorbell";
/// A key that no blob has, for probes.
const NO_BLOB: &str = "readyz";

/// What kind of process uses the shared stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessRole {
    /// A short-lived command without workers.
    Command,
    /// A long-running server that takes no jobs.
    Server,
    /// A long-running process that takes jobs.
    Worker,
}

/// Opens all stores of the set.
pub async fn open_shared_stores(
    settings: &Settings,
    set: &SharedStores,
    reached: ProcessRole,
    purpose: OpenPurpose,
) -> anyhow::Result<StoreSet> {
    let directory = match reached {
        ProcessRole::Worker => own_directory(&settings.data.directory),
        ProcessRole::Command | ProcessRole::Server => None,
    };
    let holder = directory.as_ref().and_then(|directory| directory.load_holder_id().ok());
    let options = postgres_options(settings, set, holder.unwrap_or_else(Uuid::new_v4))?;
    let catalogue = Arc::new(connect_catalogue(&options, reached).await?);
    let blobs = open_blobs(settings, &set.blobs)?;
    let library = match purpose {
        OpenPurpose::Use => claim_library(catalogue.as_ref(), blobs.as_ref(), StoreOwners::Many).await?,
        OpenPurpose::Recovery => begin_recovery(catalogue.as_ref(), blobs.as_ref()).await?,
    };
    let index = Arc::new(QdrantIndex::new(QdrantOptions {
        library: Some(library.clone()),
        ..qdrant_options(settings)
    })?);
    let doorbell = open_notifier(set, &options)?;
    let embeddings = match &directory {
        Some(directory) => open_cache(directory.cache_path(), settings.ingest.embedding_cache_bytes).await,
        None => None,
    };
    Ok(StoreSet {
        // The database layer logs its migrations itself.
        upgraded: None,
        probes: build_probes(&catalogue, &index, &blobs, set, &doorbell),
        keys: catalogue.clone(),
        usage: catalogue.clone(),
        idempotency: catalogue.clone(),
        evaluations: catalogue.clone(),
        feedback: catalogue.clone(),
        sources: catalogue.clone(),
        export_store: catalogue.clone(),
        points: index.clone(),
        catalogue,
        index,
        dual_index: None,
        blobs,
        library,
        embeddings,
        notifier: doorbell,
        location: StoreLocation::Shared {
            _directory: directory,
            blobs: blob_folder(&set.blobs).map(PathBuf::from),
        },
        reserve: None,
        shorten_log: Arc::new(|| Ok(())),
    })
}

/// Names of the shared stores in answers.
pub const SHARED_STORE_NAMES: [&str; 4] = ["catalogue", "index", "blobs", "doorbell"];

/// Whether the database holds an API key.
pub async fn has_keys(settings: &Settings, set: &SharedStores) -> anyhow::Result<bool> {
    Ok(postgres::has_keys(&postgres_options(settings, set, Uuid::new_v4())?).await?)
}

/// Opens only the catalogue and the blobs of the set.
pub async fn open_catalogue(
    settings: &Settings,
    set: &SharedStores,
) -> anyhow::Result<(Arc<PostgresCatalogue>, Arc<dyn ObjectStore>)> {
    let options = postgres_options(settings, set, Uuid::new_v4())?;
    let catalogue = Arc::new(connect_catalogue(&options, ProcessRole::Command).await?);
    Ok((catalogue, open_blobs(settings, &set.blobs)?))
}

/// Probes each store with a request that leaves nothing there; returns name and result.
pub async fn probe_shared_stores(
    settings: &Settings,
    set: &SharedStores,
) -> Vec<(&'static str, Result<String, String>)> {
    let catalogue = with_time_limit(async {
        let options = postgres_options(settings, set, Uuid::new_v4())?;
        anyhow::Ok(format!("PostgreSQL {}", postgres::server_version(&options).await?))
    });
    let index = with_time_limit(async {
        let version = QdrantIndex::new(qdrant_options(settings))?.server_version().await?;
        anyhow::Ok(format!("Qdrant {version}"))
    });
    let blobs = with_time_limit(async {
        let store = open_blobs(settings, &set.blobs)?;
        let folder = blob_folder(&set.blobs).map(PathBuf::from);
        let answers = ask_blobs(store.clone(), folder).await;
        answers.map_err(anyhow::Error::msg)?;
        trial::try_blob_store(store.as_ref()).await?;
        anyhow::Ok("the store answers, and can be written to".to_owned())
    });
    let bell = with_time_limit(async {
        let bell = open_notifier(set, &postgres_options(settings, set, Uuid::new_v4())?)?;
        // The notifier notifies once when it listens.
        let _ = tokio::time::timeout(LOOK_PATIENCE, bell.wait_for_notification()).await;
        match bell.connection_error() {
            None => anyhow::Ok(format!("{} wakes the workers", notifier_name(set))),
            Some(trouble) => bail!("{trouble}"),
        }
    });
    let (catalogue, index, blobs, bell) = tokio::join!(catalogue, index, blobs, bell);
    SHARED_STORE_NAMES
        .into_iter()
        .zip([catalogue, index, blobs, bell])
        .collect()
}

/// Opens the data directory. If another process owns it or it cannot be written, this process does without.
fn own_directory(path: &Path) -> Option<DataDirectory> {
    match DataDirectory::open(path) {
        Ok(directory) => Some(directory),
        Err(DataDirectoryError::InUse { holder, .. }) => {
            tracing::info!(
                "process {holder} has {}: this one remembers no embeddings; --data names another folder",
                path.display()
            );
            None
        }
        Err(error) => {
            tracing::warn!("this process remembers no embeddings: {error}");
            None
        }
    }
}

fn postgres_options(settings: &Settings, set: &SharedStores, holder: Uuid) -> anyhow::Result<PostgresOptions> {
    let url = set.database_url.expose_secret().unwrap_or_default();
    let mut options = PostgresOptions::new(url, holder).context("setting data.database_url")?;
    options.pool_size = settings.data.database_connections;
    let authorities = &settings.data.database_ca_file;
    if authorities.as_os_str().is_empty() {
        return Ok(options);
    }
    let named = || format!("setting data.database_ca_file: cannot read {}", authorities.display());
    Ok(options.with_authorities(std::fs::read(authorities).with_context(named)?))
}

/// Connects to the database. It may start later than its users, so a server retries for a while.
async fn connect_catalogue(options: &PostgresOptions, reached: ProcessRole) -> anyhow::Result<PostgresCatalogue> {
    let opened = tokio::time::timeout(START_PATIENCE, async {
        loop {
            match PostgresCatalogue::open(options).await {
                Err(error) if reached != ProcessRole::Command && error.is_transient() => {
                    wait_before_retry(&error).await
                }
                opened => return opened,
            }
        }
    });
    match opened.await {
        Ok(opened) => opened.context("the catalogue"),
        Err(_) => bail!("the catalogue: postgresql did not answer within {START_PATIENCE:?}"),
    }
}

async fn wait_before_retry(error: &PostgresError) {
    tracing::warn!("waiting for the catalogue: {error}");
    tokio::time::sleep(START_WAIT).await;
}

fn qdrant_options(settings: &Settings) -> QdrantOptions {
    let index = &settings.index;
    let given = |number: u32| Some(number).filter(|number| *number > 0);
    QdrantOptions {
        api_key: index.qdrant_api_key.expose_secret().map(ApiKey::new),
        collection: index.qdrant_collection.clone(),
        timeout: Duration::from_secs(index.qdrant_timeout_seconds),
        shards: given(index.qdrant_shards),
        replicas: given(index.qdrant_replicas),
        write_consistency: given(index.qdrant_write_consistency),
        vectors_on_disk: index.qdrant_vectors_on_disk,
        quantized: index.qdrant_quantized,
        exact_below: index.qdrant_exact_below,
        ..QdrantOptions::new(&index.qdrant_url)
    }
}

fn blob_folder(place: &BlobLocation) -> Option<&Path> {
    match place {
        BlobLocation::Folder(folder) => Some(folder),
        BlobLocation::Bucket { .. } => None,
    }
}

fn open_blobs(settings: &Settings, place: &BlobLocation) -> anyhow::Result<Arc<dyn ObjectStore>> {
    match place {
        // If the mount is missing, creating the folder would make a store that only this machine sees.
        BlobLocation::Folder(folder) if !folder.is_dir() => {
            bail!(
                "setting data.blobs_url: there is no folder {}; hint: mount it, or make it",
                folder.display()
            )
        }
        BlobLocation::Folder(folder) => open_folder(folder),
        BlobLocation::Bucket { name, prefix } => {
            let s3 = &settings.s3;
            let secret = |secret: &crate::config::SecretSetting| secret.expose_secret().unwrap_or_default().to_owned();
            let options = S3Options {
                bucket: name.clone(),
                prefix: prefix.clone(),
                endpoint: s3.endpoint.clone(),
                region: s3.region.clone(),
                access_key_id: secret(&s3.access_key_id),
                secret_access_key: secret(&s3.secret_access_key),
                session_token: secret(&s3.session_token),
                role_arn: s3.role_arn.clone(),
                web_identity_token_file: s3.web_identity_token_file.clone(),
            };
            open_bucket(&options).with_context(|| format!("cannot use the bucket {name}"))
        }
    }
}

fn open_notifier(set: &SharedStores, options: &PostgresOptions) -> anyhow::Result<Arc<dyn Notifier>> {
    Ok(match set.redis_url.expose_secret() {
        Some(url) => Arc::new(RedisNotifier::new(url, CHANNEL).context("setting jobs.redis_url")?),
        None => postgres::start_notifier(options),
    })
}

fn notifier_name(set: &SharedStores) -> &'static str {
    match set.redis_url.is_set() {
        true => "Redis",
        false => "PostgreSQL",
    }
}

fn build_probes(
    catalogue: &Arc<PostgresCatalogue>,
    index: &Arc<QdrantIndex>,
    blobs: &Arc<dyn ObjectStore>,
    set: &SharedStores,
    doorbell: &Arc<dyn Notifier>,
) -> Vec<StoreProbe> {
    let (catalogue, index, blobs, doorbell) = (catalogue.clone(), index.clone(), blobs.clone(), doorbell.clone());
    let folder = blob_folder(&set.blobs).map(PathBuf::from);
    let words = |error: &dyn std::fmt::Display| error.to_string();
    vec![
        build_probe("catalogue", true, move || {
            let catalogue = catalogue.clone();
            async move { catalogue.ping_server().await.map_err(|error| words(&error)) }
        }),
        build_probe("index", true, move || {
            let index = index.clone();
            async move { index.server_version().await.map(drop).map_err(|error| words(&error)) }
        }),
        build_probe("blobs", true, move || ask_blobs(blobs.clone(), folder.clone())),
        build_probe("doorbell", false, move || {
            let trouble = doorbell.connection_error();
            async move { trouble.map_or(Ok(()), Err) }
        }),
    ]
}

fn build_probe<F>(name: &'static str, needed: bool, ask: impl Fn() -> F + Send + Sync + 'static) -> StoreProbe
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    StoreProbe {
        name,
        needed,
        ask: Box::new(move || ask().boxed()),
    }
}

/// Reads a key that does not exist: the store answers if it can say so.
async fn ask_blobs(blobs: Arc<dyn ObjectStore>, folder: Option<PathBuf>) -> Result<(), String> {
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(format!("there is no folder {}", folder.display()));
    }
    match blobs.head(&Key::from(NO_BLOB)).await {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
