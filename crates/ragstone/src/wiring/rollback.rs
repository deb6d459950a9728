//! Rollback of an upgrade, for all databases of the data directory that an upgrade changes.

use std::path::PathBuf;

use anyhow::{Context, bail};
use ragstone_adapters::data_dir::DataDirectory;
use ragstone_adapters::sqlite::rollback::{ChangedSince, RollbackPlan, plan_rollback, restore_copy};

use super::stores::copy_label;
use crate::config::Settings;

/// What a rollback would do; holds the lock of the data directory.
pub struct UpgradeRollback {
    directory: DataDirectory,
    way: RollbackPlan,
    /// Separate index databases that have a copy as well: database and copy.
    indexes: Vec<(PathBuf, PathBuf)>,
}

impl UpgradeRollback {
    /// Finds the copies; changes nothing.
    pub fn find_copies(settings: &Settings) -> anyhow::Result<Self> {
        let path = &settings.data.directory;
        if settings.shared_stores().is_some() {
            bail!(
                "PostgreSQL is not copied before an upgrade: restore the dump that was made before it (docs/operations/upgrade.md)"
            );
        }
        if !path.is_dir() {
            bail!("there is no data directory {}", path.display());
        }
        let directory = DataDirectory::open(path)?;
        let database = directory.database_path();
        if !database.exists() {
            bail!("there is no database {}", database.display());
        }
        let way = plan_rollback(&database).with_context(|| database.display().to_string())?;
        let mut indexes = Vec::new();
        for index in directory.list_indexes()? {
            if let RollbackPlan::Copy { copy, .. } =
                plan_rollback(&index).with_context(|| index.display().to_string())?
            {
                indexes.push((index, copy));
            }
        }
        Ok(Self {
            directory,
            way,
            indexes,
        })
    }

    /// The copy to go back to, and what would be lost.
    pub fn way_back(&self) -> &RollbackPlan {
        &self.way
    }

    /// Whether nothing that was stored since the copy is lost, as far as that can be determined.
    pub fn loses_nothing(&self) -> bool {
        match &self.way {
            RollbackPlan::Copy { changed, .. } => changed.as_ref().is_some_and(ChangedSince::is_nothing),
            RollbackPlan::NoCopy | RollbackPlan::SameSchema { .. } => true,
        }
    }

    /// Restores the copies; returns the paths of the newer databases, the catalogue's first.
    pub fn restore_copies(self) -> anyhow::Result<Vec<PathBuf>> {
        let RollbackPlan::Copy { copy, .. } = &self.way else {
            bail!("there is nothing to go back to");
        };
        let label = copy_label();
        // The catalogue is restored last: until then this program opens everything, and the copies can be made again.
        let mut aside = Vec::new();
        for (index, copy) in &self.indexes {
            aside.push(restore_copy(index, copy, &label)?);
        }
        aside.insert(0, restore_copy(&self.directory.database_path(), copy, &label)?);
        Ok(aside)
    }
}
