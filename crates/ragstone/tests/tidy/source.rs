//! Rust source as the rules of `tidy` read it: comments, literals and test code blanked out, positions kept.
//!
//! Invariant: every view of a file has the bytes of its text or spaces in their place, so a position means the same
//! in all of them. It is a scanner, not a parser: it knows as much syntax as the rules need.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One file below `crates/*/src`.
pub struct SourceFile {
    /// From the root of the workspace, with `/`.
    pub path: String,
    /// Folder of its crate, such as `ragstone-core`.
    pub package: String,
    /// Its module, from the root of the crate; empty for `lib.rs` and `main.rs`.
    pub module: Vec<String>,
    /// As it is.
    pub raw: String,
    /// Without comments and the contents of literals.
    pub masked: String,
    /// `masked` without test code; all blank if the file is nothing else.
    pub code: String,
    /// Whether only tests and contract suites compile the file.
    pub test: bool,
}

impl SourceFile {
    /// The line of a position, from 1.
    pub fn line(&self, position: usize) -> usize {
        self.raw[..position].matches('\n').count() + 1
    }

    /// `path:line: the line`, for messages.
    pub fn place(&self, position: usize) -> String {
        let line = self.line(position);
        let text = self.raw.lines().nth(line - 1).unwrap_or_default().trim();
        format!("{}:{line}: {text}", self.path)
    }

    /// Where `needle` stands as whole words in `view`, one of this file's texts.
    pub fn find<'a>(&self, view: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
        view.match_indices(needle).map(|(at, _)| at).filter(move |&at| {
            let word = |byte: Option<&u8>| byte.is_some_and(|b| is_word(*b));
            let bytes = view.as_bytes();
            let (first, last) = (needle.as_bytes()[0], needle.as_bytes()[needle.len() - 1]);
            let joined_before = is_word(first) && at > 0 && word(bytes.get(at - 1));
            let joined_after = is_word(last) && word(bytes.get(at + needle.len()));
            !joined_before && !joined_after
        })
    }

    /// Paths of this crate that the code names, as position and segments from the crate's root: `crate::a::b`,
    /// `super::b` and each branch of a group.
    pub fn crate_paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        for start in self.find(&self.code, "crate::") {
            branches(&self.code[start + "crate::".len()..], &[], start, &mut found);
        }
        for start in self.find(&self.code, "super::") {
            if self.code[..start].ends_with("super::") {
                continue;
            }
            let mut rest = &self.code[start..];
            let mut base = self.module.as_slice();
            while let Some(after) = rest.strip_prefix("super::") {
                rest = after;
                base = &base[..base.len().saturating_sub(1)];
            }
            branches(rest, base, start, &mut found);
        }
        found
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Adds the paths that begin at `text`, which stands behind `::`, below `base`.
fn branches(text: &str, base: &[String], position: usize, found: &mut Vec<(usize, Vec<String>)>) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        for branch in split_group(group) {
            branches(branch, base, position, found);
        }
        return;
    }
    let end = text.bytes().position(|b| !is_word(b)).unwrap_or(text.len());
    let mut path = base.to_vec();
    if end > 0 {
        path.push(text[..end].to_string());
    }
    match text[end..].strip_prefix("::") {
        Some(rest) if end > 0 && !rest.starts_with('<') => branches(rest, &path, position, found),
        _ => found.push((position, path)),
    }
}

/// The branches of `{a, b::{c, d}}`, given what stands behind its first brace.
fn split_group(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_usize, 0, Vec::new());
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => {
                parts.push(&group[start..at]);
                break;
            }
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Every source file of every crate below `root`, tests blanked, in order of path.
pub fn load(root: &Path) -> Vec<SourceFile> {
    let mut files: Vec<SourceFile> = walk(&root.join("crates"), &[])
        .into_iter()
        .filter_map(|path| read(root, &path))
        .collect();
    let tests: BTreeSet<String> = files.iter().flat_map(test_files).collect();
    for file in &mut files {
        let own = |test: &String| match test.strip_suffix('/') {
            Some(folder) => file.path.starts_with(&format!("{folder}/")),
            None => file.path == *test,
        };
        if tests.iter().any(own) {
            file.code = blank(&file.code);
            file.test = true;
        }
    }
    files
}

fn read(root: &Path, path: &Path) -> Option<SourceFile> {
    let path = relative(root, path);
    let (package, inside) = path.strip_prefix("crates/")?.split_once("/src/")?;
    let inside = inside.strip_suffix(".rs")?;
    let mut module: Vec<String> = inside.split('/').map(String::from).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    let raw = std::fs::read_to_string(root.join(&path)).expect("a source file is readable UTF-8");
    let masked = mask(&raw);
    let code = without_tests(&masked, &raw);
    Some(SourceFile {
        package: package.to_string(),
        path: path.clone(),
        module,
        raw,
        masked,
        code,
        test: false,
    })
}

/// Files below `folder` but those under a folder named in `skip`, in order; links are not followed.
pub fn walk(folder: &Path, skip: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let kind = entry.file_type().expect("an entry of a folder has a type");
        let skipped = entry.file_name().to_str().is_some_and(|name| skip.contains(&name));
        if kind.is_dir() && !skipped {
            found.extend(walk(&entry.path(), skip));
        } else if kind.is_file() && !skipped {
            found.push(entry.path());
        }
    }
    found
}

/// `path` from `root`, with `/`.
pub fn relative(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).expect("walked from the root");
    inside.to_string_lossy().replace('\\', "/")
}

/// Paths of the files, and folders ending in `/`, that this file declares as modules for tests alone.
fn test_files(file: &SourceFile) -> Vec<String> {
    let folder = match file.path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_string(),
        _ => file.path.trim_end_matches(".rs").to_string(),
    };
    let beside = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for (start, end) in test_items(&file.masked, &file.raw) {
        let item = &file.masked[start..end];
        let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) else {
            continue;
        };
        let raw = &file.raw[start..end];
        match raw.split_once("#[path = \"").and_then(|(_, rest)| rest.split_once('"')) {
            Some((path, _)) => found.push(format!("{beside}/{path}")),
            None => {
                let name = name.1.trim();
                found.push(format!("{folder}/{name}.rs"));
                found.push(format!("{folder}/{name}/"));
            }
        }
    }
    found
}

/// Comments and what stands between quotes as spaces; quotes and line ends stay.
pub fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (hidden, next) = literal_or_comment(bytes, at);
        for byte in &mut out[hidden] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = next;
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

/// What to hide of the token at `at`, and where to go on.
fn literal_or_comment(bytes: &[u8], at: usize) -> (std::ops::Range<usize>, usize) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let end = at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        return (at..end, end);
    }
    if rest.starts_with(b"/*") {
        let end = at + block_comment(rest);
        return (at..end, end);
    }
    if rest[0] == b'"' {
        let end = at + 1 + quoted(&rest[1..], b'"');
        return (at + 1..end, end + 1);
    }
    if rest[0] == b'r' && (at == 0 || !is_word(bytes[at - 1]) || matches!(bytes[at - 1], b'b' | b'c')) {
        let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let from = at + 2 + hashes;
            let length = bytes[from..].windows(close.len()).position(|w| w == close);
            let end = length.map_or(bytes.len(), |length| from + length);
            return (from..end, (end + close.len()).min(bytes.len()));
        }
    }
    if rest[0] == b'\''
        && let Some(length) = character(&rest[1..])
    {
        return (at + 1..at + 1 + length, at + 2 + length);
    }
    (at..at, at + 1)
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Bytes up to the closing quote.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at.min(rest.len())
}

/// Bytes of a character literal behind its first quote, `None` if that quote begins a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.first() == Some(&b'\\') {
        return Some(quoted(rest, b'\''));
    }
    let width = match rest.first()? {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (rest.get(width) == Some(&b'\'')).then_some(width)
}

/// `masked` with every item that only tests or contract suites compile blanked out.
pub fn without_tests(masked: &str, raw: &str) -> String {
    if raw.contains("#![cfg(test)]") {
        return blank(masked);
    }
    let mut out = masked.to_string();
    for (start, end) in test_items(masked, raw) {
        let hidden = blank(&out[start..end]);
        out.replace_range(start..end, &hidden);
    }
    out
}

fn blank(text: &str) -> String {
    let space = |byte: u8| if byte == b'\n' { '\n' } else { ' ' };
    text.bytes().map(space).collect()
}

/// Ranges of the items behind `#[cfg(test)]` and its like.
fn test_items(masked: &str, raw: &str) -> Vec<(usize, usize)> {
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(offset) = masked[from..].find("#[cfg(") {
        let start = from + offset;
        let end = start + masked[start..].find(']').unwrap_or(masked.len() - start);
        let condition = &raw[start..end];
        let test = condition.contains("(test") || condition.contains(" test") || condition.contains("\"contract\"");
        from = end;
        if test && !condition.contains("not(") {
            from = item_end(masked, end);
            items.push((start, from));
        }
    }
    items
}

/// Where the item behind the attribute that ends at `at` ends: its `;` or its closing brace.
fn item_end(masked: &str, at: usize) -> usize {
    let (mut nested, mut braces) = (0_i32, 0_i32);
    for (offset, byte) in masked[at + 1..].bytes().enumerate() {
        let end = at + 1 + offset + 1;
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested -= 1,
            b'{' => braces += 1,
            b'}' => braces -= 1,
            b';' if nested == 0 && braces == 0 => return end,
            _ => {}
        }
        if byte == b'}' && nested == 0 && braces <= 0 {
            return end;
        }
    }
    masked.len()
}
