//! A data directory of the last release: this program opens it, answers the same, keeps a copy, and lets the older
//! program go on with it.
//!
//! `fixtures/library-0.1.0.tar.gz` holds what release 0.1.0 (commit ac0e8bd) left of five documents: one replaced, one deleted, a
//! mail with an attachment, readers and a key; and in `expected.json` what that release answered from it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{Sandbox, Server};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/library-0.1.0.tar.gz");
/// Where a program of the last release is, to try it on what this one left.
const PREVIOUS: &str = "RAGSTONE_TEST_PREVIOUS";

/// A sandbox with the older library in it, and what the older program answered.
fn older_library() -> (Sandbox, Value) {
    let sandbox = Sandbox::lexical();
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(FIXTURE)
        .arg("-C")
        .arg(sandbox.path())
        .status();
    assert!(unpacked.unwrap().success());
    std::fs::create_dir(sandbox.path().join(".ragstone")).unwrap();
    std::fs::rename(sandbox.path().join("data"), sandbox.path().join(".ragstone/data")).unwrap();
    let expected = std::fs::read_to_string(sandbox.path().join("expected.json")).unwrap();
    (sandbox, serde_json::from_str(&expected).unwrap())
}

/// What lies in the data directory under a name that begins so.
fn beside(sandbox: &Sandbox, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sandbox.path().join(".ragstone/data")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix))
        .collect();
    paths.sort();
    paths
}

/// Every member that the older program told has the value that it had.
#[track_caller]
fn as_before(found: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&found[name], value, "{name} of {expected}");
    }
}

#[track_caller]
fn answers_the_same(sandbox: &Sandbox, expected: &Value) {
    let documents = sandbox.run(&["document", "list", "--json"]).ended(0).lines();
    let before = expected["documents"].as_array().unwrap();
    assert_eq!(documents.len(), before.len());
    for (found, expected) in documents.iter().zip(before) {
        as_before(found, expected);
    }
    for (question, passages) in expected["searches"].as_object().unwrap() {
        let found = sandbox.run(&["search", question, "--json"]).ended(0).json();
        let (found, passages) = (found["passages"].as_array().unwrap(), passages.as_array().unwrap());
        assert_eq!(found.len(), passages.len(), "{question}");
        for (found, expected) in found.iter().zip(passages) {
            let (score, before) = (found["score"].as_f64().unwrap(), expected["score"].as_f64().unwrap());
            assert!((score - before).abs() < 1e-5, "{question}: {score}, before {before}");
            let (mut found, mut expected) = (found.clone(), expected.clone());
            found["score"].take();
            expected["score"].take();
            as_before(&found, &expected);
        }
        let answer = sandbox.run(&["ask", question, "--json"]).ended(0).json();
        as_before(&answer, &expected["answers"][question]);
    }
}

#[test]
fn a_library_of_the_last_release_is_upgraded_and_answers_the_same() {
    let (sandbox, expected) = older_library();
    let first = sandbox.run(&["document", "list", "--json"]).ended(0);
    let copies = beside(&sandbox, "ragstone.db.before-");
    assert_eq!(copies.len(), 1, "{copies:?}");
    let name = copies[0].file_name().unwrap().to_str().unwrap();
    assert!(first.err.contains(name), "{name}: {}", first.err);
    answers_the_same(&sandbox, &expected);
    sandbox.run(&["fsck"]).ended(0);
    // Once is enough.
    assert_eq!(beside(&sandbox, "ragstone.db.before-"), copies);
    let again = sandbox.run(&["document", "list", "--json"]).ended(0);
    assert!(!again.err.contains("before-"), "{}", again.err);
    let rollback = sandbox.run(&["rollback", "--json"]).ended(0).json();
    assert_eq!(rollback["result"], "additive", "{rollback}");
    assert!(!rollback["additions"].as_array().unwrap().is_empty(), "{rollback}");
    assert_eq!(beside(&sandbox, "ragstone.db.after-"), [] as [PathBuf; 0]);
    answers_the_same(&sandbox, &expected);
}

#[test]
fn an_upgrade_goes_without_a_copy_where_none_is_wanted() {
    let (sandbox, expected) = older_library();
    let sandbox = sandbox.with("RAGSTONE_DATA__UPGRADE_COPIES", "0");
    answers_the_same(&sandbox, &expected);
    assert_eq!(beside(&sandbox, "ragstone.db.before-"), [] as [PathBuf; 0]);
    let rollback = sandbox.run(&["rollback", "--json"]).ended(0).json();
    assert_eq!(rollback["result"], "nothing", "{rollback}");
}

#[test]
fn nothing_is_undone_while_a_server_runs_or_where_there_is_nothing() {
    let (sandbox, _) = older_library();
    let server = Server::start(&sandbox);
    let held = sandbox.run(&["rollback"]).ended(1);
    assert!(held.err.contains("is in use by process"), "{}", held.err);
    assert_eq!(server.stop(), Some(0));
    let empty = Sandbox::lexical();
    let none = empty.run(&["rollback"]).ended(1);
    assert!(none.err.contains("there is no data directory"), "{}", none.err);
    assert!(!empty.path().join(".ragstone").exists());
}

/// Needs a program of the last release: `RAGSTONE_TEST_PREVIOUS` names it.
#[test]
fn the_last_release_goes_on_with_what_this_one_left() {
    #[expect(clippy::disallowed_methods, reason = "the test is told where the older program is")]
    let Some(previous) = std::env::var_os(PREVIOUS) else {
        ragstone_testkit::skip_test(
            "the last release on an upgraded library",
            &format!("name its program in {PREVIOUS}"),
        );
        return;
    };
    let (sandbox, expected) = older_library();
    answers_the_same(&sandbox, &expected);
    sandbox.write("new.md", "# Crane\n\nThe crane was taken in by the newer release.\n");
    let new = sandbox
        .run(&["ingest", "new.md", "--readers", "everyone", "--json"])
        .ended(0)
        .json();
    let run = |arguments: &[&str]| {
        let mut older = Command::new(&previous);
        older.args(arguments).current_dir(sandbox.path());
        older
            .env("RAGSTONE_EMBED__PROVIDER", "none")
            .env("RAGSTONE_OFFLINE", "1");
        let ran = older.output().unwrap();
        assert!(
            ran.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).unwrap()
    };
    let listed = run(&["document", "list", "--json"]);
    let before = expected["documents"].as_array().unwrap().len();
    assert_eq!(listed.lines().count(), before + 1);
    let found: Value = serde_json::from_str(&run(&["search", "crane", "--json"])).unwrap();
    assert_eq!(found["passages"][0]["document_id"], new["document_id"]);
    // Its `fsck` would call the manifests orphans, which it does not know.
    sandbox.write("old.md", "# Winch\n\nThe winch was taken in by the older release.\n");
    run(&["ingest", "old.md", "--readers", "everyone"]);
    run(&["document", "delete", new["document_id"].as_str().unwrap()]);
    // And this one again, over rows that the older one wrote.
    let found = sandbox.run(&["search", "winch", "--json"]).ended(0).json();
    assert!(
        found["passages"][0]["text"].as_str().unwrap().contains("older release"),
        "{found}"
    );
    sandbox.run(&["fsck"]).ended(0);
    answers_except_for(&sandbox, &expected, before + 1);
}

/// The older documents are as they were, among `all`.
#[track_caller]
fn answers_except_for(sandbox: &Sandbox, expected: &Value, all: usize) {
    let documents = sandbox.run(&["document", "list", "--json"]).ended(0).lines();
    assert_eq!(documents.len(), all);
    for expected in expected["documents"].as_array().unwrap() {
        let found = documents.iter().find(|found| found["id"] == expected["id"]);
        as_before(found.expect("an older document is there"), expected);
    }
}
