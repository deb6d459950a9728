//! The stores of a data directory: one database, one folder of blobs, one cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use ragstone_adapters::cache::SqliteEmbeddingCache;
use ragstone_adapters::catalogue::sqlite::SqliteCatalogue;
use ragstone_adapters::data_dir::DataDirectory;
use ragstone_adapters::doorbell::HereDoorbell;
use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::Database;
use ragstone_core::seam::EmbeddingCache;

use super::{Home, Stores};
use crate::config::Settings;

/// The stores of a data directory.
pub async fn open(settings: &Settings, directory: DataDirectory) -> anyhow::Result<Stores> {
    let (catalogue, index) = open_database(directory.database()).await?;
    Ok(Stores {
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
        blobs: open_folder(&directory.blobs())?,
        embeddings: open_cache(directory.cache(), settings.ingest.embedding_cache_bytes).await,
        doorbell: Arc::new(HereDoorbell::default()),
        home: Home::Alone(directory),
        probes: Vec::new(),
    })
}

/// The database of the data directory, as the catalogue and as the index.
async fn open_database(path: PathBuf) -> anyhow::Result<(Arc<SqliteCatalogue>, Arc<EmbeddedIndex>)> {
    let open = move || {
        let database = Database::open(&path)?;
        let catalogue = Arc::new(SqliteCatalogue::open(database.clone())?);
        anyhow::Ok((catalogue, Arc::new(EmbeddedIndex::open(database)?)))
    };
    tokio::task::spawn_blocking(open).await?
}

/// What was embedded before; none where the settings want none or there can be none, which costs embeddings only.
pub async fn open_cache(path: PathBuf, bytes: u64) -> Option<Arc<dyn EmbeddingCache>> {
    let open = move || match bytes {
        0 => SqliteEmbeddingCache::remove(&path).map(|()| None),
        bytes => SqliteEmbeddingCache::open(&path, bytes).map(Some),
    };
    let opened = tokio::task::spawn_blocking(open)
        .await
        .map_err(anyhow::Error::from);
    match opened.and_then(|opened| Ok(opened?)) {
        Ok(cache) => cache.map(|cache| Arc::new(cache) as Arc<dyn EmbeddingCache>),
        Err(error) => {
            tracing::warn!("every text is embedded again: {error:#}");
            None
        }
    }
}

/// The folder of originals and texts, made if it is not there.
pub fn open_folder(folder: &Path) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let named = || format!("cannot use {}", folder.display());
    std::fs::create_dir_all(folder).with_context(named)?;
    let store = LocalFileSystem::new_with_prefix(folder).with_context(named)?;
    Ok(Arc::new(store.with_automatic_cleanup(true)))
}
