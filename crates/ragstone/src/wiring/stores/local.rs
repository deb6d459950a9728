//! The stores of a data directory: one database, one folder of blobs, one cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use ragstone_adapters::blob::reserved::ReservedStore;
use ragstone_adapters::cache::SqliteEmbeddingCache;
use ragstone_adapters::catalogue::sqlite::{SqliteCatalogue, file_has_keys};
use ragstone_adapters::data_dir::{DataDirectory, database_of, index_of, remove_indexes_but};
use ragstone_adapters::disk_reserve::DiskReserve;
use ragstone_adapters::doorbell::HereDoorbell;
use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::upgrade::{CopyPolicy, Upgrade};
use ragstone_adapters::sqlite::{Database, DatabaseError};
use ragstone_core::library::mark::Owners;
use ragstone_core::seam::{Catalogue, EmbeddingCache};
use time::macros::format_description;

use super::super::migration::{Active, Pair, Record, Side, Sides, clear};
use super::claim::{claim, recovering};
use super::{Home, Purpose, Stores};
use crate::clock::now;
use crate::config::Settings;

/// The stores of a data directory.
pub async fn open(settings: &Settings, directory: DataDirectory, purpose: Purpose) -> anyhow::Result<Stores> {
    let reserve = open_reserve(directory.path(), settings.data.reserve_bytes).await?;
    let copies = CopyPolicy {
        kept: settings.data.upgrade_copies,
        label: copy_label(),
    };
    let opened = open_copied_database(directory.database(), Some(reserve.clone()), copies.clone());
    let (catalogue, database, upgrade) = opened.await?;
    let upgraded = upgrade.map(|upgrade| in_words(&upgrade));
    if let Some(upgraded) = &upgraded {
        tracing::info!("{upgraded}");
    }
    let logged = database.clone();
    let blobs: Arc<dyn ObjectStore> = Arc::new(ReservedStore::new(open_folder(&directory.blobs())?, reserve.clone()));
    let library = match purpose {
        Purpose::Use => claim(catalogue.as_ref(), blobs.as_ref(), Owners::One).await?,
        Purpose::Recovery => recovering(catalogue.as_ref(), blobs.as_ref()).await?,
    };
    let folder = directory.path();
    let index = open_sides(folder, database, catalogue.as_ref(), Some(&reserve), &copies).await?;
    Ok(Stores {
        upgraded,
        keys: catalogue.clone(),
        usage: catalogue.clone(),
        idempotency: catalogue.clone(),
        evaluations: catalogue.clone(),
        feedback: catalogue.clone(),
        sources: catalogue.clone(),
        portable: catalogue.clone(),
        points: index.clone(),
        catalogue,
        sides: Some(index.clone()),
        index,
        blobs,
        library,
        embeddings: open_cache(directory.cache(), settings.ingest.embedding_cache_bytes).await,
        doorbell: Arc::new(HereDoorbell::default()),
        home: Home::Alone(directory),
        reserve: Some(reserve),
        shorten_log: Arc::new(move || Ok(logged.shorten_log()?)),
        probes: Vec::new(),
    })
}

/// Before anything is opened: on a full disk it makes the room that this takes.
async fn open_reserve(folder: &Path, bytes: u64) -> anyhow::Result<DiskReserve> {
    let folder = folder.to_owned();
    let open = move || DiskReserve::open(&folder, bytes).context("the disk of the data directory");
    tokio::task::spawn_blocking(open).await?
}

/// The database of the data directory, as the catalogue and as itself.
pub async fn open_database(
    path: PathBuf,
    reserve: Option<DiskReserve>,
) -> anyhow::Result<(Arc<SqliteCatalogue>, Database)> {
    let (catalogue, database, _) = open_copied_database(path, reserve, CopyPolicy::default()).await?;
    Ok((catalogue, database))
}

/// The same, with a copy of what an older release left.
async fn open_copied_database(
    path: PathBuf,
    reserve: Option<DiskReserve>,
    copies: CopyPolicy,
) -> anyhow::Result<(Arc<SqliteCatalogue>, Database, Option<Upgrade>)> {
    let open = move || {
        let (database, upgrade) = open_copied(&path, reserve, &copies)?;
        anyhow::Ok((Arc::new(SqliteCatalogue::open(database.clone())?), database, upgrade))
    };
    tokio::task::spawn_blocking(open).await?
}

/// A database whose older state is copied before it is changed.
fn open_copied(
    path: &Path,
    reserve: Option<DiskReserve>,
    copies: &CopyPolicy,
) -> anyhow::Result<(Database, Option<Upgrade>)> {
    Database::open_upgrading(path, reserve, copies).map_err(|error| match error {
        DatabaseError::NoRoomForCopy { .. } => anyhow::anyhow!(
            "{error}; hint: make room, or set data.upgrade_copies to 0 to upgrade without a copy, and so without a way back"
        ),
        error => error.into(),
    })
}

/// What tells the copies of one upgrade from those of another: this program's version, and the time.
pub fn copy_label() -> String {
    let digits = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = now().format(&digits).unwrap_or_default();
    format!("{}-{time}", env!("CARGO_PKG_VERSION"))
}

fn in_words(upgrade: &Upgrade) -> String {
    let Upgrade {
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

/// Whether the data directory holds an API key, be there another process that has it or not.
pub async fn has_keys(folder: &Path) -> anyhow::Result<bool> {
    let path = database_of(folder);
    tokio::task::spawn_blocking(move || Ok(file_has_keys(&path)?)).await?
}

/// The index that answers, and the one beside it while the model is changed. What an earlier change left is removed.
pub async fn open_sides(
    folder: &Path,
    database: Database,
    catalogue: &dyn Catalogue,
    reserve: Option<&DiskReserve>,
    copies: &CopyPolicy,
) -> anyhow::Result<Arc<Sides>> {
    let active = Active::read(catalogue).await?;
    let record = Record::read(catalogue).await?;
    let beside = record.as_ref().map(|record| record.by(active.as_ref()).1.clone());
    let place = active.and_then(|active| active.place);
    let other = beside.as_ref().and_then(|beside| beside.place.clone());
    let kept: Vec<&str> = [&place, &other].into_iter().flatten().map(String::as_str).collect();
    remove_indexes_but(folder, &kept).context("an index that is not used any more")?;
    let needs_first = place.is_none() || beside.as_ref().is_some_and(|beside| beside.place.is_none());
    let first = in_database(database).await?;
    if !needs_first {
        clear(first.as_ref()).await?;
    }
    let open = async |place: Option<String>| match place {
        None => anyhow::Ok(Side::new(None, first.clone())),
        Some(place) => open_copied_side(folder, place, reserve, copies.clone()).await,
    };
    let pair = Pair {
        active: open(place).await?,
        other: match beside {
            Some(beside) => {
                let side = open(beside.place).await?;
                side.index.ensure(&beside.spec).await?;
                Some(side)
            }
            None => None,
        },
    };
    Ok(Sides::new(pair))
}

async fn in_database(database: Database) -> anyhow::Result<Arc<EmbeddedIndex>> {
    let open = move || anyhow::Ok(Arc::new(EmbeddedIndex::open(database)?));
    tokio::task::spawn_blocking(open).await?
}

/// A new index in a database of its own.
pub async fn open_side(folder: &Path, place: String, reserve: Option<&DiskReserve>) -> anyhow::Result<Arc<Side>> {
    open_copied_side(folder, place, reserve, CopyPolicy::default()).await
}

async fn open_copied_side(
    folder: &Path,
    place: String,
    reserve: Option<&DiskReserve>,
    copies: CopyPolicy,
) -> anyhow::Result<Arc<Side>> {
    let (path, reserve) = (index_of(folder, &place), reserve.cloned());
    let open = move || {
        let (database, _) = open_copied(&path, reserve, &copies)?;
        anyhow::Ok(Arc::new(EmbeddedIndex::open_apart(database)?))
    };
    let index = tokio::task::spawn_blocking(open).await??;
    Ok(Side::new(Some(place), index))
}

/// What was embedded before; none where the settings want none or there can be none, which costs embeddings only.
pub async fn open_cache(path: PathBuf, bytes: u64) -> Option<Arc<dyn EmbeddingCache>> {
    let open = move || match bytes {
        0 => SqliteEmbeddingCache::remove(&path).map(|()| None),
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

/// The folder of originals and texts, made if it is not there.
pub fn open_folder(folder: &Path) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let named = || format!("cannot use {}", folder.display());
    std::fs::create_dir_all(folder).with_context(named)?;
    let store = LocalFileSystem::new_with_prefix(folder).with_context(named)?;
    Ok(Arc::new(store.with_automatic_cleanup(true)))
}
