//! Writes and reads sets as JSON lines, and fetches the lists they are made from.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::UsageError;
use crate::cli::client::ApiClient;
use crate::cli::output::{CommandOutput, print_message};

/// Items per page of a list request.
const PAGE: usize = 1_000;

/// Writes the lines of a set to a new file, or to stdout if `out` is `None`.
pub fn write_lines(lines: &[Value], out: Option<&PathBuf>, output: CommandOutput) -> anyhow::Result<()> {
    let Some(path) = out else {
        return lines.iter().try_for_each(|line| output.write_json_line(line));
    };
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            UsageError(format!("{} is there already; name another file", path.display())).into()
        }
        _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
    })?;
    file.write_all(format_lines(lines).as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    print_message(&format!("{}: {} questions", path.display(), lines.len()));
    Ok(())
}

/// Replaces the file at `path` by `lines` atomically.
pub fn replace_lines(path: &Path, lines: &[Value]) -> anyhow::Result<()> {
    let named = || format!("cannot write {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = folder
        .unwrap_or(Path::new("."))
        .join(format!(".{name}.{}", std::process::id()));
    std::fs::write(&fresh, format_lines(lines)).with_context(named)?;
    std::fs::rename(&fresh, path).with_context(named)
}

/// Reads the lines of a set without interpreting them.
pub fn read_lines(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(n, line)| {
        serde_json::from_str(line).map_err(|error| UsageError(format!("{}: line {n}: {error}", path.display())).into())
    });
    parsed.collect()
}

fn format_lines(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Fetches all items of a list.
pub async fn fetch_all_items(door: &ApiClient, path: &str, name: &str) -> anyhow::Result<Vec<Value>> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = door.get_json(&format!("{path}limit={PAGE}{cursor}")).await?;
        if let Value::Array(items) = page[name].take() {
            found.extend(items);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}
