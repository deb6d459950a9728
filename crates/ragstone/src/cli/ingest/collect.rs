//! Resolves the paths, folders and globs of the command line to a list of files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use ignore::WalkBuilder;

use super::no_match_error;
use crate::cli::UsageError;

/// Every file that `paths` name, without duplicates, sorted by path.
pub fn collect_files(paths: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = BTreeSet::new();
    for path in paths {
        let found = expand_path(path)?;
        if found.is_empty() {
            return Err(no_match_error(path));
        }
        files.extend(found);
    }
    Ok(files.into_iter().collect())
}

/// A name that exists is that file or folder, even if it contains a wildcard; else it is a glob.
fn expand_path(path: &str) -> anyhow::Result<Vec<PathBuf>> {
    let named = Path::new(path);
    if named.is_file() {
        return Ok(vec![named.to_owned()]);
    }
    if named.is_dir() {
        return walk_folder(named, |_| true);
    }
    if !path.contains(['*', '?', '[', '{']) {
        return Err(UsageError(format!("{path} does not exist")).into());
    }
    let glob = GlobBuilder::new(path).literal_separator(true).build();
    let matcher = glob
        .map_err(|error| UsageError(format!("{path} is not a glob: {error}")))?
        .compile_matcher();
    walk_folder(&fixed_part(path), |file| {
        matcher.is_match(file) || matcher.is_match(without_dot(file))
    })
}

/// The folders before the first part with a wildcard.
fn fixed_part(glob: &str) -> PathBuf {
    let parts = Path::new(glob).components();
    let is_fixed = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']);
    let folder: PathBuf = parts.take_while(is_fixed).collect();
    match folder.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => folder,
    }
}

fn without_dot(file: &Path) -> &Path {
    file.strip_prefix("./").unwrap_or(file)
}

/// Files below `folder`, without hidden files and those that `.gitignore` excludes.
fn walk_folder(folder: &Path, wanted: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkBuilder::new(folder)
        .require_git(false)
        .sort_by_file_path(Path::cmp)
        .build()
    {
        let entry = entry?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) && wanted(entry.path()) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_globs_leave_out_what_is_hidden_or_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (path, text) in [
            ("a.md", ""),
            ("b.txt", ""),
            ("sub/c.md", ""),
            ("sub/deep/d.md", ""),
            (".hidden.md", ""),
            (".gitignore", "sub/deep/\n"),
        ] {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), text).unwrap();
        }
        let check = |pattern: &str, expected: &[&str]| {
            let found = collect_files(&[root.join(pattern).display().to_string()]).unwrap();
            let expected: Vec<PathBuf> = expected.iter().map(|path| root.join(path)).collect();
            assert_eq!(found, expected, "{pattern}");
        };
        check("", &["a.md", "b.txt", "sub/c.md"]);
        check("sub", &["sub/c.md"]);
        check("*.md", &["a.md"]);
        check("**/*.md", &["a.md", "sub/c.md"]);
        check(".hidden.md", &[".hidden.md"]);
        let missing = collect_files(&[root.join("none.md").display().to_string()]).unwrap_err();
        assert!(missing.to_string().ends_with("none.md does not exist"));
        assert!(collect_files(&[root.join("*.pdf").display().to_string()]).is_err());
    }
}
