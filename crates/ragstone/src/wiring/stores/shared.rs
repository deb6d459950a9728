//! Shared stores: PostgreSQL, Qdrant, a bucket or a folder that every process sees, and a doorbell between them.
//!
//! Invariant: what a process keeps on its own machine may be lost: the embedding cache, and the name under which its jobs
//! are taken back at once after a crash.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::FutureExt;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use ragstone_adapters::blob::s3::{S3Options, bucket};
use ragstone_adapters::catalogue::postgres::{self, PostgresCatalogue, PostgresError, PostgresOptions};
use ragstone_adapters::data_dir::{DataDirectory, Locked};
use ragstone_adapters::doorbell::RedisDoorbell;
use ragstone_adapters::index::qdrant::{ApiKey, QdrantIndex, QdrantOptions};
use ragstone_core::library::mark::Owners;
use ragstone_core::seam::Doorbell;
use uuid::Uuid;

use super::super::trial::{self, within_patience};
use super::claim::{claim, recovering};
use super::local::{open_cache, open_folder};
use super::{Home, Probe, Purpose, Stores};
use crate::config::{BlobPlace, Settings, SharedSet};

/// How long a server that starts waits for its database, and how long between two tries.
const START_PATIENCE: Duration = Duration::from_secs(60);
const START_WAIT: Duration = Duration::from_secs(1);
/// How long a doorbell may take to be heard of by whoever only looks.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);
/// The channel of the doorbell in Redis.
const CHANNEL: &str = "ragstone:doorbell";
/// A key that no blob has.
const NO_BLOB: &str = "readyz";

/// What a process is to the shared stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It comes, asks and goes.
    Asking,
    /// It stays, and serves.
    Serving,
    /// It stays, and takes jobs.
    Working,
}

/// The stores of the set.
pub async fn open(settings: &Settings, set: &SharedSet, reached: Reached, purpose: Purpose) -> anyhow::Result<Stores> {
    let directory = match reached {
        Reached::Working => own_directory(&settings.data.directory),
        Reached::Asking | Reached::Serving => None,
    };
    let holder = directory.as_ref().and_then(|directory| directory.name().ok());
    let options = database(settings, set, holder.unwrap_or_else(Uuid::new_v4))?;
    let catalogue = Arc::new(connect(&options, reached).await?);
    let blobs = blobs(settings, &set.blobs)?;
    let library = match purpose {
        Purpose::Use => claim(catalogue.as_ref(), blobs.as_ref(), Owners::Many).await?,
        Purpose::Recovery => recovering(catalogue.as_ref(), blobs.as_ref()).await?,
    };
    let index = Arc::new(QdrantIndex::new(QdrantOptions {
        library: Some(library.clone()),
        ..qdrant(settings)
    })?);
    let doorbell = doorbell(set, &options)?;
    let embeddings = match &directory {
        Some(directory) => open_cache(directory.cache(), settings.ingest.embedding_cache_bytes).await,
        None => None,
    };
    Ok(Stores {
        // The database's own log line tells.
        upgraded: None,
        probes: probes(&catalogue, &index, &blobs, set, &doorbell),
        keys: catalogue.clone(),
        usage: catalogue.clone(),
        idempotency: catalogue.clone(),
        evaluations: catalogue.clone(),
        feedback: catalogue.clone(),
        sources: catalogue.clone(),
        portable: catalogue.clone(),
        points: index.clone(),
        catalogue,
        index,
        sides: None,
        blobs,
        library,
        embeddings,
        doorbell,
        home: Home::Shared {
            _directory: directory,
            blobs: folder(&set.blobs).map(PathBuf::from),
        },
        reserve: None,
        shorten_log: Arc::new(|| Ok(())),
    })
}

/// The shared stores, as they are called in answers.
pub const SHARED_PARTS: [&str; 4] = ["catalogue", "index", "blobs", "doorbell"];

/// Whether the database holds an API key.
pub async fn has_keys(settings: &Settings, set: &SharedSet) -> anyhow::Result<bool> {
    Ok(postgres::has_keys(&database(settings, set, Uuid::new_v4())?).await?)
}

/// The catalogue and the blobs of the set alone.
pub async fn open_catalogue(
    settings: &Settings,
    set: &SharedSet,
) -> anyhow::Result<(Arc<PostgresCatalogue>, Arc<dyn ObjectStore>)> {
    let options = database(settings, set, Uuid::new_v4())?;
    let catalogue = Arc::new(connect(&options, Reached::Asking).await?);
    Ok((catalogue, blobs(settings, &set.blobs)?))
}

/// Asks each store whether it answers and can be used, and leaves nothing there: its name, and how it is.
pub async fn reach(settings: &Settings, set: &SharedSet) -> Vec<(&'static str, Result<String, String>)> {
    let catalogue = within_patience(async {
        let options = database(settings, set, Uuid::new_v4())?;
        anyhow::Ok(format!("PostgreSQL {}", postgres::version(&options).await?))
    });
    let index = within_patience(async {
        let version = QdrantIndex::new(qdrant(settings))?.version().await?;
        anyhow::Ok(format!("Qdrant {version}"))
    });
    let blobs = within_patience(async {
        let store = blobs(settings, &set.blobs)?;
        let folder = folder(&set.blobs).map(PathBuf::from);
        let answers = ask_blobs(store.clone(), folder).await;
        answers.map_err(anyhow::Error::msg)?;
        trial::store(store.as_ref()).await?;
        anyhow::Ok("the store answers, and can be written to".to_owned())
    });
    let bell = within_patience(async {
        let bell = doorbell(set, &database(settings, set, Uuid::new_v4())?)?;
        // It has rung once it listens.
        let _ = tokio::time::timeout(LOOK_PATIENCE, bell.wait()).await;
        match bell.trouble() {
            None => anyhow::Ok(format!("{} wakes the workers", by_whom(set))),
            Some(trouble) => bail!("{trouble}"),
        }
    });
    let (catalogue, index, blobs, bell) = tokio::join!(catalogue, index, blobs, bell);
    SHARED_PARTS.into_iter().zip([catalogue, index, blobs, bell]).collect()
}

/// The data directory, unless another process has it or it cannot be written: then this one goes without.
fn own_directory(path: &Path) -> Option<DataDirectory> {
    match DataDirectory::open(path) {
        Ok(directory) => Some(directory),
        Err(Locked::Held { holder, .. }) => {
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

fn database(settings: &Settings, set: &SharedSet, holder: Uuid) -> anyhow::Result<PostgresOptions> {
    let url = set.database_url.expose().unwrap_or_default();
    let mut options = PostgresOptions::new(url, holder).context("setting data.database_url")?;
    options.pool_size = settings.data.database_connections;
    let authorities = &settings.data.database_ca_file;
    if authorities.as_os_str().is_empty() {
        return Ok(options);
    }
    let named = || format!("setting data.database_ca_file: cannot read {}", authorities.display());
    Ok(options.trusting(std::fs::read(authorities).with_context(named)?))
}

/// The database may start after whoever needs it: a server waits a while.
async fn connect(options: &PostgresOptions, reached: Reached) -> anyhow::Result<PostgresCatalogue> {
    let opened = tokio::time::timeout(START_PATIENCE, async {
        loop {
            match PostgresCatalogue::open(options).await {
                Err(error) if reached != Reached::Asking && error.may_pass() => wait_for(&error).await,
                opened => return opened,
            }
        }
    });
    match opened.await {
        Ok(opened) => opened.context("the catalogue"),
        Err(_) => bail!("the catalogue: postgresql did not answer within {START_PATIENCE:?}"),
    }
}

async fn wait_for(error: &PostgresError) {
    tracing::warn!("waiting for the catalogue: {error}");
    tokio::time::sleep(START_WAIT).await;
}

fn qdrant(settings: &Settings) -> QdrantOptions {
    let index = &settings.index;
    let given = |number: u32| Some(number).filter(|number| *number > 0);
    QdrantOptions {
        api_key: index.qdrant_api_key.expose().map(ApiKey::new),
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

fn folder(place: &BlobPlace) -> Option<&Path> {
    match place {
        BlobPlace::Folder(folder) => Some(folder),
        BlobPlace::Bucket { .. } => None,
    }
}

fn blobs(settings: &Settings, place: &BlobPlace) -> anyhow::Result<Arc<dyn ObjectStore>> {
    match place {
        // A folder that is made here would be this machine's alone, where a mount is missing.
        BlobPlace::Folder(folder) if !folder.is_dir() => {
            bail!(
                "setting data.blobs_url: there is no folder {}; hint: mount it, or make it",
                folder.display()
            )
        }
        BlobPlace::Folder(folder) => open_folder(folder),
        BlobPlace::Bucket { name, prefix } => {
            let s3 = &settings.s3;
            let secret = |secret: &crate::config::Secret| secret.expose().unwrap_or_default().to_owned();
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
            bucket(&options).with_context(|| format!("cannot use the bucket {name}"))
        }
    }
}

fn doorbell(set: &SharedSet, options: &PostgresOptions) -> anyhow::Result<Arc<dyn Doorbell>> {
    Ok(match set.redis_url.expose() {
        Some(url) => Arc::new(RedisDoorbell::new(url, CHANNEL).context("setting jobs.redis_url")?),
        None => postgres::doorbell(options),
    })
}

fn by_whom(set: &SharedSet) -> &'static str {
    match set.redis_url.is_set() {
        true => "Redis",
        false => "PostgreSQL",
    }
}

fn probes(
    catalogue: &Arc<PostgresCatalogue>,
    index: &Arc<QdrantIndex>,
    blobs: &Arc<dyn ObjectStore>,
    set: &SharedSet,
    doorbell: &Arc<dyn Doorbell>,
) -> Vec<Probe> {
    let (catalogue, index, blobs, doorbell) = (catalogue.clone(), index.clone(), blobs.clone(), doorbell.clone());
    let folder = folder(&set.blobs).map(PathBuf::from);
    let words = |error: &dyn std::fmt::Display| error.to_string();
    vec![
        probe("catalogue", true, move || {
            let catalogue = catalogue.clone();
            async move { catalogue.ping().await.map_err(|error| words(&error)) }
        }),
        probe("index", true, move || {
            let index = index.clone();
            async move { index.version().await.map(drop).map_err(|error| words(&error)) }
        }),
        probe("blobs", true, move || ask_blobs(blobs.clone(), folder.clone())),
        probe("doorbell", false, move || {
            let trouble = doorbell.trouble();
            async move { trouble.map_or(Ok(()), Err) }
        }),
    ]
}

fn probe<F>(name: &'static str, needed: bool, ask: impl Fn() -> F + Send + Sync + 'static) -> Probe
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    Probe {
        name,
        needed,
        ask: Box::new(move || ask().boxed()),
    }
}

/// A store that knows it has no such blob answers.
async fn ask_blobs(blobs: Arc<dyn ObjectStore>, folder: Option<PathBuf>) -> Result<(), String> {
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(format!("there is no folder {}", folder.display()));
    }
    match blobs.head(&Key::from(NO_BLOB)).await {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
