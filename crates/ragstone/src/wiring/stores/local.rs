//! Opens the stores of a data directory: one database, one folder of blobs, one cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use ragstone_adapters::blob::reserved::ReservedStore;
use ragstone_adapters::cache::SqliteEmbeddingCache;
use ragstone_adapters::catalogue::sqlite::{SqliteCatalogue, file_has_keys};
use ragstone_adapters::data_dir::{DataDirectory, database_path_in, index_path_in, remove_other_indexes};
use ragstone_adapters::disk_reserve::DiskReserve;
use ragstone_adapters::doorbell::LocalNotifier;
use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::upgrade::{CopyPolicy, UpgradeReport};
use ragstone_adapters::sqlite::{SqliteDatabase, SqliteError};
use ragstone_core::library::mark::StoreOwners;
use ragstone_core::seam::{Catalogue, EmbeddingCache};
use time::macros::format_description;

use super::super::migration::{ActiveAndShadow, ActiveIndex, DualIndex, IndexSide, MigrationRecord, clear_index};
use super::claim::{begin_recovery, claim_library};
use super::{OpenPurpose, StoreLocation, StoreSet};
use crate::clock::utc_now;
use crate::config::Settings;

/// Opens all stores of a data directory.
pub async fn open_local_stores(
    settings: &Settings,
    directory: DataDirectory,
    purpose: OpenPurpose,
) -> anyhow::Result<StoreSet> {
    let reserve = open_reserve(directory.path(), settings.data.reserve_bytes).await?;
    let copies = CopyPolicy {
        kept: settings.data.upgrade_copies,
        label: copy_label(),
    };
    let opened = open_copied_database(directory.database_path(), Some(reserve.clone()), copies.clone());
    let (catalogue, database, upgrade) = opened.await?;
    let upgraded = upgrade.map(|upgrade| describe_upgrade(&upgrade));
    if let Some(upgraded) = &upgraded {
        tracing::info!("{upgraded}");
    }
    let logged = database.clone();
    let blobs: Arc<dyn ObjectStore> = Arc::new(ReservedStore::new(
        open_folder(&directory.blobs_path())?,
        reserve.clone(),
    ));
    let library = match purpose {
        OpenPurpose::Use => claim_library(catalogue.as_ref(), blobs.as_ref(), StoreOwners::One).await?,
        OpenPurpose::Recovery => begin_recovery(catalogue.as_ref(), blobs.as_ref()).await?,
    };
    let folder = directory.path();
    let index = open_dual_index(folder, database, catalogue.as_ref(), Some(&reserve), &copies).await?;
    Ok(StoreSet {
        upgraded,
        keys: catalogue.clone(),
        usage: catalogue.clone(),
        idempotency: catalogue.clone(),
        evaluations: catalogue.clone(),
        feedback: catalogue.clone(),
        sources: catalogue.clone(),
        export_store: catalogue.clone(),
        points: index.clone(),
        catalogue,
        dual_index: Some(index.clone()),
        index,
        blobs,
        library,
        embeddings: open_cache(directory.cache_path(), settings.ingest.embedding_cache_bytes).await,
        notifier: Arc::new(LocalNotifier::default()),
        location: StoreLocation::Local(directory),
        reserve: Some(reserve),
        shorten_log: Arc::new(move || Ok(logged.truncate_log()?)),
        probes: Vec::new(),
    })
}

/// Opens the reserve. This comes before the stores: on a full disk it makes the room that opening them needs.
async fn open_reserve(folder: &Path, bytes: u64) -> anyhow::Result<DiskReserve> {
    let folder = folder.to_owned();
    let open = move || DiskReserve::open(&folder, bytes).context("the disk of the data directory");
    tokio::task::spawn_blocking(open).await?
}

/// Opens the database of the data directory; returns it as the catalogue and as the database.
pub async fn open_database(
    path: PathBuf,
    reserve: Option<DiskReserve>,
) -> anyhow::Result<(Arc<SqliteCatalogue>, SqliteDatabase)> {
    let (catalogue, database, _) = open_copied_database(path, reserve, CopyPolicy::default()).await?;
    Ok((catalogue, database))
}

/// Opens the database, and copies what an older release left before it is changed.
async fn open_copied_database(
    path: PathBuf,
    reserve: Option<DiskReserve>,
    copies: CopyPolicy,
) -> anyhow::Result<(Arc<SqliteCatalogue>, SqliteDatabase, Option<UpgradeReport>)> {
    let open = move || {
        let (database, upgrade) = open_with_copy(&path, reserve, &copies)?;
        anyhow::Ok((Arc::new(SqliteCatalogue::open(database.clone())?), database, upgrade))
    };
    tokio::task::spawn_blocking(open).await?
}

/// Opens a database whose older state is copied before it is changed.
fn open_with_copy(
    path: &Path,
    reserve: Option<DiskReserve>,
    copies: &CopyPolicy,
) -> anyhow::Result<(SqliteDatabase, Option<UpgradeReport>)> {
    SqliteDatabase::open_upgrading(path, reserve, copies).map_err(|error| match error {
        SqliteError::NoRoomForCopy { .. } => anyhow::anyhow!(
            "{error}; hint: make room, or set data.upgrade_copies to 0 to upgrade without a copy, and so without a way back"
        ),
        error => error.into(),
    })
}

/// Label of the copies of one upgrade: this program's version and the time.
pub fn copy_label() -> String {
    let digits = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = utc_now().format(&digits).unwrap_or_default();
    format!("{}-{time}", env!("CARGO_PKG_VERSION"))
}

fn describe_upgrade(upgrade: &UpgradeReport) -> String {
    let UpgradeReport {
        from,
        to,
        additions,
        copy,
    } = upgrade;
    let mut done = match from == to {
        true => format!("schema {to}"),
        false => format!("schema {from} to {to}"),
    };
    if !additions.is_empty() {
        done.push_str(&format!("; added: {}", additions.join(", ")));
    }
    let copy = match copy {
        Some(copy) => format!(
            "the copy from before is {}; `ragstone rollback` tells the way back",
            copy.display()
        ),
        None => "no copy was made of it".to_owned(),
    };
    format!("the database of an earlier release was upgraded ({done}); {copy}")
}

/// Whether the data directory holds an API key; works while another process owns the directory, too.
pub async fn has_keys(folder: &Path) -> anyhow::Result<bool> {
    let path = database_path_in(folder);
    tokio::task::spawn_blocking(move || Ok(file_has_keys(&path)?)).await?
}

/// Opens the active index, and the shadow if a migration is unfinished. Removes what earlier migrations left.
pub async fn open_dual_index(
    folder: &Path,
    database: SqliteDatabase,
    catalogue: &dyn Catalogue,
    reserve: Option<&DiskReserve>,
    copies: &CopyPolicy,
) -> anyhow::Result<Arc<DualIndex>> {
    let active = ActiveIndex::load_from(catalogue).await?;
    let record = MigrationRecord::load_from(catalogue).await?;
    let beside = record
        .as_ref()
        .map(|record| record.active_and_other(active.as_ref()).1.clone());
    let place = active.and_then(|active| active.place);
    let other = beside.as_ref().and_then(|beside| beside.place.clone());
    let kept: Vec<&str> = [&place, &other].into_iter().flatten().map(String::as_str).collect();
    remove_other_indexes(folder, &kept).context("an index that is not used any more")?;
    let needs_first = place.is_none() || beside.as_ref().is_some_and(|beside| beside.place.is_none());
    let first = open_catalogue_index(database).await?;
    if !needs_first {
        clear_index(first.as_ref()).await?;
    }
    let open = async |place: Option<String>| match place {
        None => anyhow::Ok(IndexSide::new(None, first.clone())),
        Some(place) => open_copied_side(folder, place, reserve, copies.clone()).await,
    };
    let pair = ActiveAndShadow {
        active: open(place).await?,
        shadow: match beside {
            Some(beside) => {
                let side = open(beside.place).await?;
                side.index.prepare_index(&beside.spec).await?;
                Some(side)
            }
            None => None,
        },
    };
    Ok(DualIndex::new(pair))
}

async fn open_catalogue_index(database: SqliteDatabase) -> anyhow::Result<Arc<EmbeddedIndex>> {
    let open = move || anyhow::Ok(Arc::new(EmbeddedIndex::open(database)?));
    tokio::task::spawn_blocking(open).await?
}

/// Creates an index in a database of its own.
pub async fn open_side(folder: &Path, place: String, reserve: Option<&DiskReserve>) -> anyhow::Result<Arc<IndexSide>> {
    open_copied_side(folder, place, reserve, CopyPolicy::default()).await
}

async fn open_copied_side(
    folder: &Path,
    place: String,
    reserve: Option<&DiskReserve>,
    copies: CopyPolicy,
) -> anyhow::Result<Arc<IndexSide>> {
    let (path, reserve) = (index_path_in(folder, &place), reserve.cloned());
    let open = move || {
        let (database, _) = open_with_copy(&path, reserve, &copies)?;
        anyhow::Ok(Arc::new(EmbeddedIndex::open_separate(database)?))
    };
    let index = tokio::task::spawn_blocking(open).await??;
    Ok(IndexSide::new(Some(place), index))
}

/// Opens the embedding cache; `None` if it is switched off or cannot be opened, which only costs embedding again.
pub async fn open_cache(path: PathBuf, bytes: u64) -> Option<Arc<dyn EmbeddingCache>> {
    let open = move || match bytes {
        0 => SqliteEmbeddingCache::remove_file(&path).map(|()| None),
        bytes => SqliteEmbeddingCache::open(&path, bytes).map(Some),
    };
    let opened = tokio::task::spawn_blocking(open).await.map_err(anyhow::Error::from);
    match opened.and_then(|opened| Ok(opened?)) {
        Ok(cache) => cache.map(|cache| Arc::new(cache) as Arc<dyn EmbeddingCache>),
        Err(error) => {
            tracing::warn!("every text is embedded again: {error:#}");
            None
        }
    }
}

/// Opens the folder of originals and texts; creates it if it does not exist.
pub fn open_folder(folder: &Path) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let named = || format!("cannot use {}", folder.display());
    std::fs::create_dir_all(folder).with_context(named)?;
    let store = LocalFileSystem::new_with_prefix(folder).with_context(named)?;
    Ok(Arc::new(store.with_automatic_cleanup(true)))
}
