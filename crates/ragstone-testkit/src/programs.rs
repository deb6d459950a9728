//! Where a machine has the servers that tests start, and whom they run as.

use std::path::PathBuf;

use crate::read_variable;

/// Where Debian keeps PostgreSQL's programs, off the PATH: a folder for each version.
const DEBIAN_POSTGRESQL: &str = "/usr/lib/postgresql";

/// A program on the PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = read_variable("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// The folder of PostgreSQL's programs, of the newest version.
pub fn find_postgresql() -> Option<PathBuf> {
    let has_programs = |folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    let versions = std::fs::read_dir(DEBIAN_POSTGRESQL).into_iter().flatten().flatten();
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let mut debian: Vec<_> = versions.map(|entry| entry.path()).collect();
    debian.sort_by_key(version);
    let debian = debian.into_iter().rev().map(|folder| folder.join("bin"));
    let path = read_variable("PATH").unwrap_or_default();
    let path: Vec<_> = std::env::split_paths(&path).collect();
    debian.chain(path).find(has_programs)
}

/// Whom a server that refuses to run as root (PostgreSQL) runs as instead, as user and group; none if this is not root.
#[cfg(unix)]
pub fn unprivileged_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(str::parse);
        Some((ids.next()?.ok()?, ids.next()?.ok()?))
    };
    is_root.then(|| find("postgres").or_else(|| find("nobody"))).flatten()
}
