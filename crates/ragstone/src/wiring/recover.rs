//! Making the database again from the blobs: whether it is needed, and where the one that is there goes.
//!
//! Invariant: no database is removed or written over. One of the data directory that does not fit its blobs, or is damaged,
//! is moved aside under a name that tells when; in shared stores only an empty one is filled.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use object_store::ObjectStore;
use ragstone_adapters::data_dir::{DataDirectory, Locked};
use ragstone_adapters::sqlite::DatabaseError;
use ragstone_core::ingest::Recovered;
use ragstone_core::library::mark::{MarkError, Mismatch, Owners, POINTS, RECOVERY};
use ragstone_core::seam::{Catalogue, CatalogueError};

use super::build;
use super::stores::{self, Purpose, Reached, Stores, open_catalogue, open_local, open_shared};
use crate::clock::now;
use crate::config::{Settings, SharedSet};
use crate::operator;

/// What a database consists of, by the end of its name.
const DATABASE_FILES: [&str; 3] = ["", "-wal", "-shm"];

/// What was done.
#[derive(Debug, Default)]
pub struct Recovery {
    /// What came of the rows; none where the database is the blobs' own and whole.
    pub recovered: Option<Recovered>,
    /// Where the files of the database that was there are.
    pub aside: Vec<PathBuf>,
    /// Whether the points are to be made.
    pub lacks_points: bool,
}

/// Makes the database of the settings' stores again, if it needs that.
pub async fn recover(settings: &Settings) -> anyhow::Result<Recovery> {
    match settings.shared() {
        Some(set) => in_shared_stores(settings, &set).await,
        None => in_data_directory(settings).await,
    }
}

/// How the database that is there stands to the blobs.
enum Found {
    /// It is theirs.
    Whole { lacks_points: bool },
    /// An earlier recovery of it was cut off.
    Begun,
    /// There is nothing in it.
    Empty,
    /// It is not to be used, and why.
    Unfit(anyhow::Error),
}

async fn in_data_directory(settings: &Settings) -> anyhow::Result<Recovery> {
    let directory = match DataDirectory::open(&settings.data.directory) {
        Ok(directory) => directory,
        Err(error @ Locked::Held { .. }) => bail!("{error}; a recovery has the data directory alone"),
        Err(error) => return Err(error.into()),
    };
    let mut recovery = Recovery::default();
    match find_local(&directory).await? {
        Found::Whole { lacks_points } => {
            recovery.lacks_points = lacks_points;
            return Ok(recovery);
        }
        Found::Begun => {}
        // Its log may be there without it.
        Found::Empty => recovery.aside = move_aside(&directory.database())?,
        Found::Unfit(why) => {
            tracing::warn!("the database is moved aside: {why:#}");
            recovery.aside = move_aside(&directory.database())?;
        }
    }
    let stores = open_local(settings, directory, Purpose::Recovery).await?;
    recovery.recovered = Some(make_rows(settings, stores).await?);
    recovery.lacks_points = true;
    Ok(recovery)
}

async fn find_local(directory: &DataDirectory) -> anyhow::Result<Found> {
    if !directory.database().exists() {
        return Ok(Found::Empty);
    }
    let (catalogue, database) = match stores::open_database(directory.database(), None).await {
        Ok(opened) => opened,
        // One that cannot be opened for another reason, a full disk or a newer program, may be whole.
        Err(error) if is_damaged(&error) => return Ok(Found::Unfit(error)),
        Err(error) => return Err(error),
    };
    if !database.is_sound().await? {
        return Ok(Found::Unfit(anyhow!("it is damaged")));
    }
    let blobs = stores::open_folder(&directory.blobs())?;
    find(catalogue.as_ref(), blobs.as_ref(), Owners::One).await
}

fn is_damaged(error: &anyhow::Error) -> bool {
    let database = error.downcast_ref::<DatabaseError>();
    let catalogue = error.downcast_ref::<CatalogueError>();
    database.is_some_and(DatabaseError::is_damaged)
        || catalogue.is_some_and(|error| matches!(error, CatalogueError::Damaged { .. }))
}

async fn find(catalogue: &dyn Catalogue, blobs: &dyn ObjectStore, owners: Owners) -> anyhow::Result<Found> {
    let is_empty = catalogue.named_after(None, 1).await?.is_empty();
    match stores::try_claim(catalogue, blobs, owners).await {
        Ok(_) => Ok(Found::Whole {
            lacks_points: catalogue.setting(RECOVERY).await?.as_deref() == Some(POINTS),
        }),
        Err(MarkError::Mismatch(Mismatch::Unfinished)) => Ok(Found::Begun),
        Err(MarkError::Mismatch(_)) if is_empty && owners == Owners::Many => Ok(Found::Empty),
        Err(MarkError::Mismatch(why)) => Ok(Found::Unfit(why.into())),
        Err(error) => Err(error.into()),
    }
}

/// Moves the files of a database aside; says where they are.
fn move_aside(database: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let since = now().unix_timestamp();
    let mut moved = Vec::new();
    for end in DATABASE_FILES {
        let from = database.with_file_name(format!("ragstone.db{end}"));
        let to = database.with_file_name(format!("ragstone.db.aside-{since}{end}"));
        if !from.exists() {
            continue;
        }
        if to.exists() {
            bail!("{} is there already", to.display());
        }
        std::fs::rename(&from, &to).with_context(|| format!("cannot move {}", from.display()))?;
        moved.push(to);
    }
    Ok(moved)
}

async fn in_shared_stores(settings: &Settings, set: &SharedSet) -> anyhow::Result<Recovery> {
    let (catalogue, blobs) = open_catalogue(settings, set).await?;
    match find(catalogue.as_ref(), blobs.as_ref(), Owners::Many).await? {
        Found::Whole { lacks_points } => {
            return Ok(Recovery {
                lacks_points,
                ..Recovery::default()
            });
        }
        Found::Begun | Found::Empty => {}
        Found::Unfit(why) => {
            bail!("{why:#}; `ragstone recover` fills an empty database: make one, and let data.database_url name it")
        }
    }
    let stores = open_shared(settings, set, Reached::Asking, Purpose::Recovery).await?;
    Ok(Recovery {
        recovered: Some(make_rows(settings, stores).await?),
        aside: Vec::new(),
        lacks_points: true,
    })
}

/// Makes the rows, and lets other starts through.
async fn make_rows(settings: &Settings, stores: Stores) -> anyhow::Result<Recovered> {
    let owners = match stores.home.is_shared() {
        true => Owners::Many,
        false => Owners::One,
    };
    let built = build(settings, stores)?;
    let recovered = built.ingestor.recover(operator::of).await?;
    built.ingestor.mark().await?;
    let catalogue = built.stores.catalogue.as_ref();
    catalogue.set_setting(RECOVERY, POINTS).await?;
    // Marks blobs that bear no mark yet.
    stores::claim(catalogue, built.stores.blobs.as_ref(), owners).await?;
    Ok(recovered)
}
