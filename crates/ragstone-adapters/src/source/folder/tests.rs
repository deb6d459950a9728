//! What a folder lists, and how it reports what it cannot list.

use futures::TryStreamExt;

use super::*;

fn folder(path: &Path, include: &[&str], exclude: &[&str]) -> Result<FolderSource, SourceError> {
    let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.into()).collect();
    FolderSource::new(FolderSettings {
        path: path.into(),
        include: owned(include),
        exclude: owned(exclude),
    })
}

async fn listed(folder: &FolderSource) -> Vec<ListEntry> {
    folder.list_items().try_collect().await.unwrap()
}

async fn items(folder: &FolderSource) -> Vec<SourceItem> {
    listed(folder)
        .await
        .into_iter()
        .filter_map(ListEntry::into_item)
        .collect()
}

async fn gaps(folder: &FolderSource) -> Vec<ListGap> {
    let gap = |entry| match entry {
        ListEntry::Gap(gap) => Some(gap),
        ListEntry::Item(_) => None,
    };
    listed(folder).await.into_iter().filter_map(gap).collect()
}

async fn keys(folder: &FolderSource) -> Vec<String> {
    items(folder).await.into_iter().map(|item| item.key).collect()
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
    let items = items(&all).await;
    assert!(items[2].uri.starts_with("file:///") && items[2].uri.ends_with("/sub/c%20d.md"));
    let some = folder(root.path(), &["*.md"], &["sub/**"]).unwrap();
    assert_eq!(keys(&some).await, ["a.md"]);
    let content = all.fetch_item(&items[0]).await.unwrap();
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
    let items = items(&folder).await;
    std::fs::remove_file(root.path().join("a.md")).unwrap();
    assert!(matches!(folder.fetch_item(&items[0]).await, Err(SourceError::Gone(_))));
    link("a.md", &outside.path().join("secret.md"));
    assert!(folder.fetch_item(&items[0]).await.is_err());
}

#[tokio::test]
async fn a_folder_that_is_not_there_lists_nothing_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("file.md", "no folder")]);
    for (name, why) in [("none", "not there"), ("file.md", "no folder")] {
        let path = root.path().join(name);
        let folder = folder(&path, &[], &[]).unwrap();
        assert_eq!(keys(&folder).await, [""; 0]);
        let gap = gaps(&folder).await.remove(0);
        assert!(gap.error.to_string().contains(why), "{gap:?}");
        assert!(gap.uri.ends_with(name), "{gap:?}");
    }
    assert!(folder(Path::new("relative"), &[], &[]).is_err());
    assert!(folder(root.path(), &["a{"], &[]).is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn names_that_are_no_text_cost_themselves_only() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("a.md", "a"), ("sub/b.md", "b")]);
    let odd = root.path().join("sub").join(OsStr::from_bytes(b"gr\xfc\xdfe.md"));
    std::fs::write(odd, "c").unwrap();
    let odd_folder = root.path().join(OsStr::from_bytes(b"alt\xff"));
    std::fs::create_dir(&odd_folder).unwrap();
    for name in ["d.md", "e.md"] {
        std::fs::write(odd_folder.join(name), "d").unwrap();
    }
    let folder = folder(root.path(), &[], &[]).unwrap();
    assert_eq!(keys(&folder).await, ["a.md", "sub/b.md"]);
    let gaps = gaps(&folder).await;
    let below: Vec<&str> = gaps
        .iter()
        .map(|gap| gap.uri.rsplit_once("/alt").map_or("", |(_, name)| name))
        .collect();
    assert_eq!((below[0], gaps.len()), ("%FF", 2), "{gaps:?}");
    assert!(gaps[1].uri.ends_with("/sub/gr%FC%DFe.md"), "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap.hides == HiddenItems::None));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_that_cannot_be_entered_hides_what_is_below_it() {
    // Deeper than a path may be long: not even root can list it by its path.
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("a.md", "a")]);
    let name = "x".repeat(250);
    let script = format!("i=0; while [ $i -lt 20 ]; do mkdir {name} && cd -P {name} || exit 1; i=$((i+1)); done");
    let mut bash = std::process::Command::new("bash");
    let made = bash.arg("-c").arg(script).current_dir(root.path()).status();
    assert!(made.unwrap().success());
    let folder = folder(root.path(), &[], &[]).unwrap();
    assert_eq!(keys(&folder).await, ["a.md"]);
    let gaps = gaps(&folder).await;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let HiddenItems::Below(path) = &gaps[0].hides else {
        panic!("{gaps:?}")
    };
    assert!(gaps[0].hides.contains(&format!("{path}/b.md")) && !gaps[0].hides.contains("a.md"));
}

#[test]
fn an_error_of_the_walk_hides_what_its_path_covers() {
    let denied = || ignore::Error::Io(std::io::ErrorKind::PermissionDenied.into());
    let at = |path: &str| ignore::Error::WithDepth {
        depth: 1,
        err: Box::new(ignore::Error::WithPath {
            path: path.into(),
            err: Box::new(denied()),
        }),
    };
    let root = Path::new("/srv/docs");
    let gap = gap_from_error(&at("/srv/docs/pay roll"), root).unwrap();
    assert_eq!(
        (gap.uri.as_str(), gap.hides),
        ("file:///srv/docs/pay%20roll", HiddenItems::Below("pay roll".into()))
    );
    assert_eq!(gap_from_error(&denied(), root).unwrap().hides, HiddenItems::Any);
    assert!(matches!(
        gap_from_error(&at("/srv/docs"), root),
        Err(SourceError::Broken(_))
    ));
}
