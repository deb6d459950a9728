//! Recovers the database from the blobs: decides whether that is needed, and where the existing database is moved.
//!
//! Invariant: no database is removed or overwritten. A data directory's database that is damaged or does not fit its
//! blobs is moved aside under a name with the time; in shared stores only an empty database is filled.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use object_store::ObjectStore;
use ragstone_adapters::data_dir::{DataDirectory, DataDirectoryError};
use ragstone_adapters::sqlite::SqliteError;
use ragstone_core::ingest::RecoveryCounts;
use ragstone_core::library::mark::{MarkError, RECOVERING_POINTS, RECOVERY_SETTING, StoreMismatch, StoreOwners};
use ragstone_core::seam::{Catalogue, CatalogueError};

use super::build_process;
use super::stores::{self, OpenPurpose, ProcessRole, StoreSet, open_catalogue, open_local, open_shared};
use crate::clock::utc_now;
use crate::config::{Settings, SharedStores};
use crate::operator;

/// Files of a database, by the suffix of their names.
const DATABASE_FILES: [&str; 3] = ["", "-wal", "-shm"];

/// What a recovery did.
#[derive(Debug, Default)]
pub struct RecoveryOutcome {
    /// Counts of recovered rows; `None` if the database was intact and belongs to the blobs.
    pub recovered: Option<RecoveryCounts>,
    /// Where the files of the former database are.
    pub aside: Vec<PathBuf>,
    /// Whether the index has to be rebuilt.
    pub lacks_points: bool,
}

/// Recovers the database of the settings' stores if that is needed.
pub async fn recover_database(settings: &Settings) -> anyhow::Result<RecoveryOutcome> {
    match settings.shared_stores() {
        Some(set) => recover_shared_stores(settings, &set).await,
        None => recover_data_directory(settings).await,
    }
}

/// State of the existing database, compared with the blobs.
enum DatabaseState {
    /// It is intact and belongs to the blobs.
    Intact { lacks_points: bool },
    /// An earlier recovery was interrupted.
    Interrupted,
    /// It has no rows, or does not exist.
    Empty,
    /// It cannot be used, for this reason.
    Unusable(anyhow::Error),
}

async fn recover_data_directory(settings: &Settings) -> anyhow::Result<RecoveryOutcome> {
    let directory = match DataDirectory::open(&settings.data.directory) {
        Ok(directory) => directory,
        Err(error @ DataDirectoryError::InUse { .. }) => {
            bail!("{error}; a recovery has the data directory alone")
        }
        Err(error) => return Err(error.into()),
    };
    let mut recovery = RecoveryOutcome::default();
    match inspect_data_directory(&directory).await? {
        DatabaseState::Intact { lacks_points } => {
            recovery.lacks_points = lacks_points;
            return Ok(recovery);
        }
        DatabaseState::Interrupted => {}
        // A write-ahead log may exist without the database.
        DatabaseState::Empty => recovery.aside = move_aside(&directory.database_path())?,
        DatabaseState::Unusable(why) => {
            tracing::warn!("the database is moved aside: {why:#}");
            recovery.aside = move_aside(&directory.database_path())?;
        }
    }
    let stores = open_local(settings, directory, OpenPurpose::Recovery).await?;
    recovery.recovered = Some(rebuild_rows(settings, stores).await?);
    recovery.lacks_points = true;
    Ok(recovery)
}

async fn inspect_data_directory(directory: &DataDirectory) -> anyhow::Result<DatabaseState> {
    if !directory.database_path().exists() {
        return Ok(DatabaseState::Empty);
    }
    let (catalogue, database) = match stores::open_database(directory.database_path(), None).await {
        Ok(opened) => opened,
        // If it cannot be opened for another reason, such as a full disk or a newer program, it may be intact.
        Err(error) if is_damaged(&error) => return Ok(DatabaseState::Unusable(error)),
        Err(error) => return Err(error),
    };
    if !database.is_sound().await? {
        return Ok(DatabaseState::Unusable(anyhow!("it is damaged")));
    }
    let blobs = stores::open_folder(&directory.blobs_path())?;
    inspect_database(catalogue.as_ref(), blobs.as_ref(), StoreOwners::One).await
}

fn is_damaged(error: &anyhow::Error) -> bool {
    let database = error.downcast_ref::<SqliteError>();
    let catalogue = error.downcast_ref::<CatalogueError>();
    database.is_some_and(SqliteError::is_damaged)
        || catalogue.is_some_and(|error| matches!(error, CatalogueError::Damaged { .. }))
}

async fn inspect_database(
    catalogue: &dyn Catalogue,
    blobs: &dyn ObjectStore,
    owners: StoreOwners,
) -> anyhow::Result<DatabaseState> {
    let is_empty = catalogue.list_document_refs(None, 1).await?.is_empty();
    match stores::try_claim_library(catalogue, blobs, owners).await {
        Ok(_) => Ok(DatabaseState::Intact {
            lacks_points: catalogue.get_setting(RECOVERY_SETTING).await?.as_deref() == Some(RECOVERING_POINTS),
        }),
        Err(MarkError::Mismatch(StoreMismatch::Unfinished)) => Ok(DatabaseState::Interrupted),
        Err(MarkError::Mismatch(_)) if is_empty && owners == StoreOwners::Many => Ok(DatabaseState::Empty),
        Err(MarkError::Mismatch(why)) => Ok(DatabaseState::Unusable(why.into())),
        Err(error) => Err(error.into()),
    }
}

/// Moves the files of a database aside; returns their new paths.
fn move_aside(database: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let since = utc_now().unix_timestamp();
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

async fn recover_shared_stores(settings: &Settings, set: &SharedStores) -> anyhow::Result<RecoveryOutcome> {
    let (catalogue, blobs) = open_catalogue(settings, set).await?;
    match inspect_database(catalogue.as_ref(), blobs.as_ref(), StoreOwners::Many).await? {
        DatabaseState::Intact { lacks_points } => {
            return Ok(RecoveryOutcome {
                lacks_points,
                ..RecoveryOutcome::default()
            });
        }
        DatabaseState::Interrupted | DatabaseState::Empty => {}
        DatabaseState::Unusable(why) => {
            bail!("{why:#}; `ragstone recover` fills an empty database: make one, and let data.database_url name it")
        }
    }
    let stores = open_shared(settings, set, ProcessRole::Command, OpenPurpose::Recovery).await?;
    Ok(RecoveryOutcome {
        recovered: Some(rebuild_rows(settings, stores).await?),
        aside: Vec::new(),
        lacks_points: true,
    })
}

/// Recovers the rows, then lets other processes start.
async fn rebuild_rows(settings: &Settings, stores: StoreSet) -> anyhow::Result<RecoveryCounts> {
    let owners = match stores.location.is_shared() {
        true => StoreOwners::Many,
        false => StoreOwners::One,
    };
    let built = build_process(settings, stores)?;
    let recovered = built
        .ingestor
        .importer()
        .recover_catalogue(operator::operator_principal_of)
        .await?;
    built.ingestor.marker().mark_generation().await?;
    let catalogue = built.stores.catalogue.as_ref();
    catalogue.set_setting(RECOVERY_SETTING, RECOVERING_POINTS).await?;
    // Writes the library's mark to blobs that have none yet.
    stores::claim_library(catalogue, built.stores.blobs.as_ref(), owners).await?;
    Ok(recovered)
}
