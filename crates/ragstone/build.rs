//! Names the commit, where there is one to name, and lists the sample documents that `quickstart` carries.

use std::path::{Path, PathBuf};
use std::process::Command;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to a build script through its environment"
)]
fn main() {
    println!("cargo:rerun-if-env-changed=RAGSTONE_COMMIT");
    println!("cargo:rerun-if-changed=../../.git/HEAD");
    println!("cargo:rerun-if-changed=../../samples");
    let commit = std::env::var("RAGSTONE_COMMIT").ok().or_else(commit);
    println!(
        "cargo:rustc-env=RAGSTONE_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("samples.rs");
    std::fs::write(out, samples(Path::new("../../samples"))).expect("cargo's own folder can be written");
}

fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    Some(commit.trim().to_owned()).filter(|commit| output.status.success() && !commit.is_empty())
}

/// A list of names and bytes, as Rust.
fn samples(folder: &Path) -> String {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    let is_sample = |path: &PathBuf| {
        let kind = path.extension().and_then(|kind| kind.to_str());
        path.is_file() && matches!(kind, Some("pdf" | "md" | "html")) && !path.ends_with("README.md")
    };
    files.retain(is_sample);
    files.sort();
    let line = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        let path = path.canonicalize().ok()?;
        Some(format!("    ({name:?}, include_bytes!({path:?}).as_slice()),\n"))
    };
    let lines: String = files.iter().filter_map(line).collect();
    format!("&[\n{lines}]\n")
}
