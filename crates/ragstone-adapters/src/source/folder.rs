//! A folder of this machine: its files, less those that ignore files leave out.
//!
//! Invariant: what lies outside of the folder is not read: links are not followed. What cannot be listed is an error.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;
use ragstone_core::seam::source::{Access, Content, Item, Source, SourceError};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

/// An ignore file of our own, beside those of git.
const IGNORE_FILE: &str = ".ragstoneignore";
/// Files of one folder; more is a mistake in its settings.
const MAX_FILES: usize = 1_000_000;
/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Which folder, and what of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderSettings {
    /// Its absolute path.
    pub path: PathBuf,
    /// Patterns, as in a .gitignore, of the files that are meant; all where there is none.
    #[serde(default)]
    pub include: Vec<String>,
    /// Patterns of files that are not.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Folder {
    settings: FolderSettings,
}

impl Folder {
    /// The folder of these settings; it need not exist yet.
    pub fn new(settings: FolderSettings) -> Result<Self, SourceError> {
        if !settings.path.is_absolute() {
            let path = settings.path.display();
            return Err(SourceError::Refused(format!("{path} is not an absolute path")));
        }
        let folder = Self { settings };
        folder.walk()?;
        Ok(folder)
    }

    fn walk(&self) -> Result<WalkBuilder, SourceError> {
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
impl Source for Folder {
    fn items(&self) -> BoxStream<'_, Result<Item, SourceError>> {
        let listed = async {
            let (walk, root) = (self.walk()?, self.settings.path.clone());
            let listed = tokio::task::spawn_blocking(move || list(&walk, &root)).await;
            listed.map_err(|error| SourceError::Broken(error.to_string()))?
        };
        futures::stream::once(listed)
            .flat_map(|listed| match listed {
                Ok(items) => futures::stream::iter(items).map(Ok).boxed(),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn fetch(&self, item: &Item) -> Result<Content, SourceError> {
        let path = self.settings.path.join(&item.key);
        let mut options = tokio::fs::OpenOptions::new();
        options.read(true);
        // Between the list and now it may have become a link to somewhere else.
        #[cfg(unix)]
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(&path).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::Gone(item.key.clone()),
            _ => SourceError::Broken(format!("{}: {error}", item.key)),
        })?;
        let is_file = file.metadata().await.is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Err(SourceError::Refused(format!(
                "{} is not a regular file",
                item.key
            )));
        }
        let bytes = futures::stream::try_unfold(file, |mut file| async move {
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece).await?;
            piece.truncate(length);
            Ok((length > 0).then(|| (Bytes::from(piece), file)))
        });
        Ok(Content {
            media_type: None,
            bytes: bytes.boxed(),
        })
    }
}

fn list(walk: &WalkBuilder, root: &Path) -> Result<Vec<Item>, SourceError> {
    if !root.is_dir() {
        return Err(SourceError::Broken(format!(
            "{} is no folder, or not there now",
            root.display()
        )));
    }
    let mut items = Vec::new();
    for entry in walk.build() {
        let entry = entry.map_err(|error| SourceError::Broken(error.to_string()))?;
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        if items.len() == MAX_FILES {
            return Err(SourceError::Refused(format!(
                "it has more than {MAX_FILES} files"
            )));
        }
        let Some(item) = item(&entry, root) else {
            let path = entry.path().display();
            return Err(SourceError::Broken(format!(
                "the name of {path} is not UTF-8 text"
            )));
        };
        items.push(item);
    }
    Ok(items)
}

fn item(entry: &ignore::DirEntry, root: &Path) -> Option<Item> {
    let key = entry.path().strip_prefix(root).ok()?.to_str()?.to_owned();
    let uri = reqwest::Url::from_file_path(entry.path()).ok()?.to_string();
    let metadata = entry.metadata().ok();
    let marker = metadata.and_then(|metadata| {
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(format!("{}:{}", metadata.len(), modified.as_nanos()))
    });
    Some(Item {
        name: entry.file_name().to_str()?.to_owned(),
        title: None,
        source_url: Some(uri.clone()),
        key,
        uri,
        marker,
        access: Access::Unsaid,
    })
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    fn folder(path: &Path, include: &[&str], exclude: &[&str]) -> Result<Folder, SourceError> {
        let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.into()).collect();
        Folder::new(FolderSettings {
            path: path.into(),
            include: owned(include),
            exclude: owned(exclude),
        })
    }

    async fn keys(folder: &Folder) -> Vec<String> {
        let items: Vec<Item> = folder.items().try_collect().await.unwrap();
        items.into_iter().map(|item| item.key).collect()
    }

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), text).unwrap();
        }
    }

    #[tokio::test]
    async fn ignore_files_and_patterns_choose() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("a.md", "a"),
                ("b.txt", "b"),
                ("sub/c d.md", "c"),
                ("sub/draft.md", "d"),
                ("build/e.md", "e"),
                (".hidden/f.md", "f"),
                (".gitignore", "build/\n"),
                ("sub/.ragstoneignore", "draft.*\n"),
            ],
        );
        let all = folder(root.path(), &[], &[]).unwrap();
        assert_eq!(keys(&all).await, ["a.md", "b.txt", "sub/c d.md"]);
        let items: Vec<Item> = all.items().try_collect().await.unwrap();
        assert!(items[2].uri.starts_with("file:///") && items[2].uri.ends_with("/sub/c%20d.md"));
        let some = folder(root.path(), &["*.md"], &["sub/**"]).unwrap();
        assert_eq!(keys(&some).await, ["a.md"]);
        let content = all.fetch(&items[0]).await.unwrap();
        let bytes: Vec<Bytes> = content.bytes.try_collect().await.unwrap();
        assert_eq!(bytes.concat(), b"a");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn links_lead_nowhere() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(outside.path(), &[("secret.md", "secret")]);
        write(root.path(), &[("a.md", "a")]);
        let link = |name: &str, to: &Path| std::os::unix::fs::symlink(to, root.path().join(name)).unwrap();
        link("file.md", &outside.path().join("secret.md"));
        link("folder", outside.path());
        let folder = folder(root.path(), &[], &[]).unwrap();
        assert_eq!(keys(&folder).await, ["a.md"]);
        let items: Vec<Item> = folder.items().try_collect().await.unwrap();
        std::fs::remove_file(root.path().join("a.md")).unwrap();
        assert!(matches!(folder.fetch(&items[0]).await, Err(SourceError::Gone(_))));
        link("a.md", &outside.path().join("secret.md"));
        assert!(folder.fetch(&items[0]).await.is_err());
    }

    #[tokio::test]
    async fn what_is_wrong_is_an_error_and_no_empty_list() {
        let root = tempfile::tempdir().unwrap();
        let missing = folder(&root.path().join("none"), &[], &[]).unwrap();
        let listed: Result<Vec<Item>, SourceError> = missing.items().try_collect().await;
        assert!(matches!(listed, Err(SourceError::Broken(_))));
        assert!(folder(Path::new("relative"), &[], &[]).is_err());
        assert!(folder(root.path(), &["a{"], &[]).is_err());
    }
}
