//! A local folder: its files, without those that ignore files exclude.
//!
//! Invariant: nothing outside of the folder is read; links are not followed. What cannot be listed is a gap.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;
use ragstone_core::seam::source::{
    DocumentSource, HiddenItems, ItemAccess, ItemContent, ListEntry, ListGap, SourceError, SourceItem,
};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

/// Ragstone's own ignore file, beside those of git.
const IGNORE_FILE: &str = ".ragstoneignore";
/// Most files of one folder; more is a mistake in its settings.
const MAX_FILES: usize = 1_000_000;
/// Bytes per read of a file.
const PIECE: usize = 256 << 10;
/// Why a file is left out whose path cannot be an item key.
const NOT_TEXT: &str = "the name is not UTF-8 text; rename it";

/// Settings of a folder source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderSettings {
    /// Absolute path of the folder.
    pub path: PathBuf,
    /// Patterns of the files to read, as in a `.gitignore`; all files if empty.
    #[serde(default)]
    pub include: Vec<String>,
    /// Patterns of files to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// Lists and reads the files of a folder.
#[derive(Debug)]
pub struct FolderSource {
    settings: FolderSettings,
}

impl FolderSource {
    /// Creates a source; the folder need not exist yet. Fails with `Refused` if its path is not absolute.
    pub fn new(settings: FolderSettings) -> Result<Self, SourceError> {
        if !settings.path.is_absolute() {
            let path = settings.path.display();
            return Err(SourceError::Refused(format!("{path} is not an absolute path")));
        }
        let folder = Self { settings };
        folder.build_walk()?;
        Ok(folder)
    }

    fn build_walk(&self) -> Result<WalkBuilder, SourceError> {
        let root = &self.settings.path;
        let mut wanted = OverrideBuilder::new(root);
        let refused = |error: ignore::Error| SourceError::Refused(error.to_string());
        for pattern in &self.settings.include {
            wanted.add(pattern).map_err(refused)?;
        }
        for pattern in &self.settings.exclude {
            wanted.add(&format!("!{pattern}")).map_err(refused)?;
        }
        let mut walk = WalkBuilder::new(root);
        walk.require_git(false)
            .git_global(false)
            .parents(false)
            .follow_links(false)
            .add_custom_ignore_filename(IGNORE_FILE)
            .overrides(wanted.build().map_err(refused)?)
            .sort_by_file_path(Path::cmp);
        Ok(walk)
    }
}

#[async_trait]
impl DocumentSource for FolderSource {
    fn list_items(&self) -> BoxStream<'_, Result<ListEntry, SourceError>> {
        let listed = async {
            let (walk, root) = (self.build_walk()?, self.settings.path.clone());
            let listed = tokio::task::spawn_blocking(move || list_entries(&walk, &root)).await;
            listed.map_err(|error| SourceError::Broken(error.to_string()))?
        };
        futures::stream::once(listed)
            .flat_map(|listed| match listed {
                Ok(items) => futures::stream::iter(items).map(Ok).boxed(),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn fetch_item(&self, item: &SourceItem) -> Result<ItemContent, SourceError> {
        let path = self.settings.path.join(&item.key);
        let mut options = tokio::fs::OpenOptions::new();
        options.read(true);
        // Since the listing the file may have become a link to somewhere else.
        #[cfg(unix)]
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(&path).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::Gone(item.key.clone()),
            _ => SourceError::Broken(format!("{}: {error}", item.key)),
        })?;
        let is_file = file.metadata().await.is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Err(SourceError::Refused(format!("{} is not a regular file", item.key)));
        }
        let bytes = futures::stream::try_unfold(file, |mut file| async move {
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece).await?;
            piece.truncate(length);
            Ok((length > 0).then(|| (Bytes::from(piece), file)))
        });
        Ok(ItemContent {
            media_type: None,
            bytes: bytes.boxed(),
        })
    }
}

fn list_entries(walk: &WalkBuilder, root: &Path) -> Result<Vec<ListEntry>, SourceError> {
    if let Some(gap) = missing_root(root)? {
        return Ok(vec![ListEntry::Gap(gap)]);
    }
    let (mut entries, mut nameless) = (Vec::new(), BTreeSet::new());
    for entry in walk.build() {
        if entries.len() == MAX_FILES {
            return Err(SourceError::Refused(format!("it has more than {MAX_FILES} files")));
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                entries.push(ListEntry::Gap(gap_from_error(&error, root)?));
                continue;
            }
        };
        if let Some(path) = non_utf8_path(entry.path(), root) {
            // A folder whose name is not UTF-8 is reported once, not with each of its files.
            if nameless.insert(path.clone()) {
                entries.push(ListEntry::Gap(build_gap(&path, HiddenItems::None, NOT_TEXT)));
            }
            continue;
        }
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        entries.extend(build_item(&entry, root).filter(|_| is_file).map(ListEntry::Item));
    }
    Ok(entries)
}

/// The gap for the whole folder if it is missing; an error if that cannot be determined.
fn missing_root(root: &Path) -> Result<Option<ListGap>, SourceError> {
    let why = match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => return Ok(None),
        Ok(_) => "it is no folder",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "the folder is not there: it was moved, or its disk is not mounted"
        }
        Err(error) => return Err(SourceError::Broken(format!("{}: {error}", root.display()))),
    };
    Ok(Some(build_gap(root, HiddenItems::None, why)))
}

/// The gap for an error of the walk: hides what is below its path. An error of the folder itself ends the list.
fn gap_from_error(error: &ignore::Error, root: &Path) -> Result<ListGap, SourceError> {
    let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
    let path = error_path(error);
    if path == Some(root) {
        return Err(SourceError::Broken(format!("{}: {why}", root.display())));
    }
    let path = path.filter(|path| path.starts_with(root));
    let Some((path, below)) = path.and_then(|path| Some((path, path.strip_prefix(root).ok()?))) else {
        return Ok(build_gap(root, HiddenItems::Any, &why));
    };
    // Nothing below a name that is not UTF-8 can be a known item.
    let hides = below
        .to_str()
        .map_or(HiddenItems::None, |key| HiddenItems::Below(key.to_owned()));
    Ok(build_gap(path, hides, &why))
}

fn error_path(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => error_path(err),
        ignore::Error::Loop { child, .. } => Some(child),
        _ => None,
    }
}

fn build_gap(path: &Path, hides: HiddenItems, why: &str) -> ListGap {
    // Bytes of the path that are not UTF-8 are percent-encoded.
    let uri = reqwest::Url::from_file_path(path);
    ListGap {
        uri: uri.map_or_else(|()| path.display().to_string(), Into::into),
        error: SourceError::Refused(why.to_owned()),
        hides,
    }
}

/// The path up to its first component below `root` that is not UTF-8; `None` if there is none.
fn non_utf8_path(path: &Path, root: &Path) -> Option<PathBuf> {
    let names = path.strip_prefix(root).ok()?.iter();
    let text = names.clone().take_while(|name| name.to_str().is_some());
    let good = text.collect::<Vec<&OsStr>>();
    let first_bad = names.clone().nth(good.len())?;
    Some(root.join(good.iter().collect::<PathBuf>()).join(first_bad))
}

fn build_item(entry: &ignore::DirEntry, root: &Path) -> Option<SourceItem> {
    let key = entry.path().strip_prefix(root).ok()?.to_str()?.to_owned();
    let uri = reqwest::Url::from_file_path(entry.path()).ok()?.to_string();
    let metadata = entry.metadata().ok();
    let marker = metadata.and_then(|metadata| {
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(format!("{}:{}", metadata.len(), modified.as_nanos()))
    });
    Some(SourceItem {
        name: entry.file_name().to_str()?.to_owned(),
        title: None,
        source_url: Some(uri.clone()),
        key,
        uri,
        marker,
        access: ItemAccess::Unspecified,
    })
}
