//! `fsck`: its form, its exit codes, and what it makes agree again.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Sandbox, Server};

fn library() -> Sandbox {
    let sandbox = Sandbox::lexical();
    sandbox.write("docs/attic.md", "# Attic\n\nThe zebra lives in the attic.\n");
    sandbox.write("docs/cellar.txt", "Walnuts are stored in the cellar.\n");
    sandbox.run(&["ingest", "docs"]).ended(0);
    sandbox
}

fn blobs(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join(".ragstone/data/blobs")
}

/// Every stored file of this name.
fn stored(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(stored(&path, name)),
            false if path.ends_with(name) => found.push(path),
            false => {}
        }
    }
    found
}

fn fsck(sandbox: &Sandbox, flags: &[&str], code: i32) -> Value {
    let arguments = [&["--json", "fsck"], flags].concat();
    sandbox.run(&arguments).ended(code).json()
}

fn counts(index: u64, blobs: u64, catalogue: u64) -> Value {
    json!({ "index": index, "blobs": blobs, "catalogue": catalogue })
}

#[test]
fn a_sound_library_ends_with_0() {
    let sandbox = library();
    let report = fsck(&sandbox, &[], 0);
    assert_eq!((&report["documents"], &report["chunks"]), (&json!(2), &json!(2)));
    assert_eq!(report["orphans"], counts(0, 0, 0));
    assert_eq!((&report["pending"], &report["repaired"]), (&counts(0, 0, 0), &json!(0)));
    sandbox.run(&["fsck", "--older-than", "1h"]).ended(2);
    sandbox.run(&["fsck", "--repair", "--older-than", "1w"]).ended(2);
}

#[test]
fn what_nobody_explains_is_told_and_removed_once_it_is_old() {
    let sandbox = library();
    let ghost = "default/6f1c2f0e-6a0b-5d0e-9a53-726167737470/3/original";
    for key in [ghost, "incoming/6f1c2f0e-6a0b-5d0e-9a53-726167737471"] {
        sandbox.write(&format!(".ragstone/data/blobs/{key}"), "nobody's");
    }
    assert_eq!(fsck(&sandbox, &[], 1)["orphans"], counts(0, 2, 0));
    let young = fsck(&sandbox, &["--repair"], 1);
    assert_eq!((&young["orphans"], &young["repaired"]), (&counts(0, 2, 0), &json!(0)));
    assert!(blobs(&sandbox).join(ghost).exists());
    let repaired = fsck(&sandbox, &["--repair", "--older-than", "0s"], 0);
    assert_eq!(
        (&repaired["orphans"], &repaired["repaired"]),
        (&counts(0, 0, 0), &json!(2))
    );
    assert!(!blobs(&sandbox).join(ghost).exists());
    let (kept, left): (Vec<_>, Vec<_>) = stored(&blobs(&sandbox), "original")
        .into_iter()
        .partition(|path| path.starts_with(blobs(&sandbox).join("quarantine")));
    assert_eq!(
        (left.len(), kept.len()),
        (2, 1),
        "what rows name stays, and nothing is deleted at once"
    );
}

#[test]
fn what_is_missing_is_made_again() {
    let sandbox = library();
    let texts = stored(&blobs(&sandbox), "text");
    std::fs::remove_file(&texts[0]).unwrap();
    let report = fsck(&sandbox, &[], 1);
    assert_eq!(report["orphans"], counts(0, 0, 1));
    assert_eq!(report["findings"][0]["kind"], "text_missing");
    let repaired = fsck(&sandbox, &["--repair"], 0);
    assert_eq!((&repaired["repaired"], &repaired["documents"]), (&json!(1), &json!(2)));
    assert_eq!(fsck(&sandbox, &[], 0)["orphans"], counts(0, 0, 0));
    let original = stored(&blobs(&sandbox), "original");
    std::fs::remove_file(&original[0]).unwrap();
    let lost = sandbox.run(&["fsck", "--repair"]).ended(1);
    assert!(lost.out.contains("original missing"), "{}", lost.out);
}

#[test]
fn it_goes_through_the_process_that_serves() {
    let sandbox = library();
    let server = Server::start(&sandbox);
    let key = "default/6f1c2f0e-6a0b-5d0e-9a53-726167737470/3/text";
    sandbox.write(&format!(".ragstone/data/blobs/{key}"), "nobody's");
    assert_eq!(fsck(&sandbox, &[], 1)["orphans"], counts(0, 1, 0));
    assert_eq!(fsck(&sandbox, &["--repair", "--older-than", "0s"], 0)["repaired"], 1);
    let listed = sandbox.run(&["--json", "document", "list"]).ended(0).lines();
    let id = listed[0]["id"].as_str().unwrap();
    sandbox.run(&["document", "delete", id]).ended(0);
    let report = loop {
        let report = fsck(&sandbox, &[], 0);
        if report["pending"] == counts(0, 0, 0) {
            break report;
        }
    };
    assert_eq!((&report["documents"], &report["chunks"]), (&json!(1), &json!(1)));
    assert_eq!(stored(&blobs(&sandbox), "original").len(), 1);
    assert_eq!(server.stop(), Some(0));
}
