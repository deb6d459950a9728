//! The way back from an upgrade, over everything of the data directory that an upgrade changes.

use std::path::PathBuf;

use anyhow::{Context, bail};
use ragstone_adapters::data_dir::DataDirectory;
use ragstone_adapters::sqlite::rollback::{ChangedSince, WayBack, find_way_back, put_back};

use super::stores::copy_label;
use crate::config::Settings;

/// What going back would do; the data directory is locked meanwhile.
pub struct Rollback {
    directory: DataDirectory,
    way: WayBack,
    /// Indexes of their own that have a copy as well: the database and its copy.
    indexes: Vec<(PathBuf, PathBuf)>,
}

impl Rollback {
    /// Looks; nothing is changed.
    pub fn find(settings: &Settings) -> anyhow::Result<Self> {
        let path = &settings.data.directory;
        if settings.shared().is_some() {
            bail!(
                "PostgreSQL is not copied before an upgrade: restore the dump that was made before it (docs/operations/upgrade.md)"
            );
        }
        if !path.is_dir() {
            bail!("there is no data directory {}", path.display());
        }
        let directory = DataDirectory::open(path)?;
        let database = directory.database();
        if !database.exists() {
            bail!("there is no database {}", database.display());
        }
        let way = find_way_back(&database).with_context(|| database.display().to_string())?;
        let mut indexes = Vec::new();
        for index in directory.indexes()? {
            if let WayBack::Copy { copy, .. } = find_way_back(&index).with_context(|| index.display().to_string())? {
                indexes.push((index, copy));
            }
        }
        Ok(Self {
            directory,
            way,
            indexes,
        })
    }

    /// What there is to go back to.
    pub fn way(&self) -> &WayBack {
        &self.way
    }

    /// Whether nothing that was stored since the copy is lost, as far as that can be told.
    pub fn loses_nothing(&self) -> bool {
        match &self.way {
            WayBack::Copy { changed, .. } => changed.as_ref().is_some_and(ChangedSince::is_nothing),
            WayBack::NoCopy | WayBack::SameSchema { .. } => true,
        }
    }

    /// Puts the copies back; gives the names under which the newer databases lie, that of the catalogue first.
    pub fn carry_out(self) -> anyhow::Result<Vec<PathBuf>> {
        let WayBack::Copy { copy, .. } = &self.way else {
            bail!("there is nothing to go back to");
        };
        let label = copy_label();
        // The catalogue comes last: until then this program still opens everything, and its copies may be made again.
        let mut aside = Vec::new();
        for (index, copy) in &self.indexes {
            aside.push(put_back(index, copy, &label)?);
        }
        aside.insert(0, put_back(&self.directory.database(), copy, &label)?);
        Ok(aside)
    }
}
