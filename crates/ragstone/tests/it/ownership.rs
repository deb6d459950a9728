//! A start whose database is missing, old or another library's: refused, and everything stays where it is.

use std::path::{Path, PathBuf};

use crate::support::{Ran, Sandbox, Server};

const DATABASE: [&str; 3] = ["ragstone.db", "ragstone.db-wal", "ragstone.db-shm"];

fn data(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join(".ragstone/data")
}

fn library(documents: std::ops::Range<usize>) -> Sandbox {
    let sandbox = Sandbox::lexical();
    ingest(&sandbox, documents);
    sandbox
}

fn ingest(sandbox: &Sandbox, documents: std::ops::Range<usize>) {
    let folder = format!("docs-{}", documents.start);
    for n in documents {
        sandbox.write(&format!("{folder}/{n}.txt"), format!("Zebra number {n} lives here."));
    }
    sandbox.run(&["ingest", &folder]).ended(0);
}

/// Copies those files of the database that there are.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in DATABASE {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// Names and lengths of all blobs but the marks, and all of them made as old as the sweep would take them.
fn blobs(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(blobs(&path));
            continue;
        }
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        file.set_modified(old).unwrap();
        found.push((path, file.metadata().unwrap().len()));
    }
    found.sort_unstable();
    found
}

/// Every way to start is refused for this reason, and takes nothing.
fn is_refused(sandbox: &Sandbox, why: &str) {
    let before = blobs(&data(sandbox).join("blobs"));
    assert!(!before.is_empty());
    for command in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["search", "zebra"],
        &["fsck", "--repair", "--older-than", "0s"],
        &["document", "list"],
    ] {
        let refused: Ran = sandbox.run(command).ended(1);
        assert!(refused.err.contains(why), "{command:?}: {}", refused.err);
        assert!(refused.err.contains("hint:"), "{command:?}: {}", refused.err);
    }
    assert_eq!(blobs(&data(sandbox).join("blobs")), before);
}

fn finds(sandbox: &Sandbox, documents: usize) {
    let listed = sandbox.run(&["--json", "document", "list"]).ended(0).lines();
    assert_eq!(listed.len(), documents);
}

#[test]
fn a_database_that_is_gone_is_missed() {
    let sandbox = library(0..3);
    let aside = sandbox.path().join("aside");
    copy(&data(&sandbox), &aside);
    for name in DATABASE {
        let _ = std::fs::remove_file(data(&sandbox).join(name));
    }
    is_refused(&sandbox, "the blobs hold originals");
    copy(&aside, &data(&sandbox));
    finds(&sandbox, 3);
}

#[test]
fn an_older_database_is_told_from_the_newest() {
    let sandbox = library(0..2);
    let (backup, newest) = (sandbox.path().join("backup"), sandbox.path().join("newest"));
    copy(&data(&sandbox), &backup);
    ingest(&sandbox, 2..4);
    copy(&data(&sandbox), &newest);
    copy(&backup, &data(&sandbox));
    is_refused(&sandbox, "older than the blobs");
    copy(&newest, &data(&sandbox));
    finds(&sandbox, 4);
}

#[test]
fn a_copy_without_its_log_is_an_older_database() {
    let sandbox = library(0..2);
    let server = Server::start(&sandbox);
    ingest(&sandbox, 2..4);
    let log = data(&sandbox).join("ragstone.db-wal");
    assert!(
        std::fs::metadata(&log).unwrap().len() > 0,
        "what was ingested last is in the log"
    );
    // The server is killed, and somebody keeps what looks like the database.
    drop(server);
    for name in &DATABASE[1..] {
        let _ = std::fs::remove_file(data(&sandbox).join(name));
    }
    // When the log was last written back decides whether what is left is older or empty.
    is_refused(&sandbox, "`ragstone recover`");
}

#[test]
fn another_librarys_database_is_not_taken() {
    let (sandbox, other) = (library(0..2), library(10..14));
    copy(&data(&other), &data(&sandbox));
    is_refused(&sandbox, "those of another database");
}

#[test]
fn a_library_of_before_the_marks_is_taken_over_by_its_own_database_alone() {
    let sandbox = library(0..2);
    let remove_marks = || {
        for mark in ["ragstone-library", "ragstone-generation"] {
            std::fs::remove_file(data(&sandbox).join("blobs").join(mark)).unwrap();
        }
    };
    remove_marks();
    finds(&sandbox, 2);
    assert!(data(&sandbox).join("blobs/ragstone-library").exists());
    ingest(&sandbox, 2..3);
    remove_marks();
    for name in DATABASE {
        let _ = std::fs::remove_file(data(&sandbox).join(name));
    }
    is_refused(&sandbox, "the blobs hold originals");
}
