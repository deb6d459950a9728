//! Moving house: a library in one file, and in another set of stores, with its readers and without embedding again.

use std::path::Path;
use std::process::Stdio;

use ragstone_adapters::archive::{ArchiveHeader, ArchiveWriter};
use ragstone_core::seam::index::IndexSpec;
use serde_json::{Value, json};

use crate::http::request;
use crate::shared_set::{Set, until};
use crate::support::{Sandbox, Server};

const WORDS: [&str; 6] = ["lamp", "pier", "tower", "oil", "gas", "night"];

/// A library with documents for everybody and for some.
fn library(home: &Sandbox, documents: usize) {
    for n in 0..documents {
        let sentence = |at: usize| {
            let word = |step: usize| WORDS[(n * 5 + at * step) % WORDS.len()];
            format!(
                "The {} number {n} beside the {} is about {} {at}. ",
                word(1),
                word(2),
                word(3)
            )
        };
        let text: String = (0..40).map(sentence).collect();
        home.write(&format!("open/{n:03}.md"), format!("# Number {n}\n\n{text}\n"));
    }
    home.write("secret.txt", "The treasure is under the third lamp of the pier.");
    home.run(&["ingest", "open", "--metadata", r#"{"lang": "en"}"#])
        .ended(0);
    home.run(&["ingest", "secret.txt", "--readers", "group:pirates"])
        .ended(0);
}

fn archive_of(home: &Sandbox, file: &Path) -> Value {
    home.run(&["--json", "export", file.to_str().unwrap()]).ended(0).json()
}

fn import(home: &Sandbox, file: &Path, more: &[&str]) -> Value {
    let arguments = [&["--json", "import", file.to_str().unwrap()], more].concat();
    home.run(&arguments).ended(0).json()
}

/// What people see of the documents.
fn listed(home: &Sandbox) -> Vec<Value> {
    home.run(&["--json", "document", "list"]).ended(0).lines()
}

/// What questions find, and how well.
fn found(home: &Sandbox) -> Vec<Value> {
    let ask = |query: &&str| {
        let answer = home.run(&["--json", "search", query]).ended(0).json();
        let passages = answer["passages"].as_array().unwrap().iter();
        let said = passages.map(|passage| json!([passage["chunk_id"], passage["score"], passage["text"]]));
        json!([answer["notices"], said.collect::<Vec<_>>()])
    };
    ["lamp beside the tower", "What is about oil 7?", "where is the treasure"]
        .iter()
        .map(ask)
        .collect()
}

fn is_clean(home: &Sandbox) {
    let report = home.run(&["--json", "fsck"]).ended(0).json();
    assert_eq!(
        report["orphans"],
        json!({"index": 0, "blobs": 0, "catalogue": 0}),
        "{report}"
    );
}

fn counts(told: &Value) -> [u64; 4] {
    ["imported", "unchanged", "kept", "failed"].map(|name| told[name].as_u64().unwrap())
}

#[test]
fn a_library_moves_with_its_readers_and_nothing_is_embedded_again() {
    let (from, folder) = (Sandbox::new(), tempfile::tempdir().unwrap());
    library(&from, 12);
    from.run(&["source", "add", "folder", "notes", "open"]).ended(0);
    let file = folder.path().join("library.tar");
    let told = archive_of(&from, &file);
    assert_eq!(
        (&told["documents"], &told["left_out"]),
        (&json!(13), &json!(0)),
        "{told}"
    );
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(told["bytes"], bytes.len());
    assert_eq!(told["sha256"], sha256(&file));
    from.run(&["export", file.to_str().unwrap()]).ended(1);

    let to = Sandbox::new();
    // Whoever has no model embeds nothing.
    let mut alone = to.command(&["--json", "import", file.to_str().unwrap()]);
    let ran = alone.env("RAGSTONE_EMBED__PROVIDER", "none").output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(counts(&told), [13, 0, 0, 0], "{told}");
    assert_eq!((&told["bytes"], &told["sources"]), (&json!(bytes.len()), &json!(1)));
    assert_eq!(listed(&to), listed(&from));
    assert_eq!(found(&to), found(&from));
    is_clean(&to);
    let again = import(&to, &file, &["--verify"]);
    assert_eq!(counts(&again), [0, 13, 0, 0], "{again}");
    let verified = &again["verified"];
    assert!(verified["questions"].as_u64() > Some(0));
    assert_eq!(verified["same"], verified["questions"], "{again}");
    // What comes back is the same library.
    let back = folder.path().join("back.tar");
    archive_of(&to, &back);
    let home = Sandbox::new();
    assert_eq!(counts(&import(&home, &back, &[])), [13, 0, 0, 0]);
    assert_eq!(found(&home), found(&from));
    assert_eq!(to.run(&["--json", "source", "list"]).ended(0).json()["paused"], true);
}

fn sha256(file: &Path) -> String {
    let ran = std::process::Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(ran.stdout).unwrap()[..64].to_owned()
}

#[test]
fn who_might_not_read_a_document_may_not_read_it_elsewhere() {
    let (from, to) = (Sandbox::lexical(), Sandbox::lexical());
    library(&from, 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("library.tar");
    archive_of(&from, &file);
    import(&to, &file, &[]);
    let key = |name: &str, group: &str| {
        let made = to.run(&["--json", "key", "create", name, "--role", "reader", "--group", group]);
        made.ended(0).json()["key"].as_str().unwrap().to_owned()
    };
    let (pirate, sailor) = (key("a", "pirates"), key("b", "sailors"));
    // Keys do not move.
    assert!(!String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains("rgs_"));
    let server = Server::start(&to);
    let finds = |key: &str| {
        let asked = request(&server.address, "POST", "/api/v1/search")
            .header("Authorization", &format!("Bearer {key}"))
            .json(&json!({"query": "treasure under the third lamp"}));
        let answer = asked.send().ok(200);
        let texts = answer["passages"].as_array().unwrap().iter();
        texts
            .filter(|passage| passage["text"].as_str().unwrap().contains("treasure"))
            .count()
    };
    assert_eq!((finds(&pirate), finds(&sailor)), (1, 0));
}

#[test]
fn what_is_cut_off_or_changed_is_refused_and_nothing_is_taken_in() {
    let (from, to) = (Sandbox::lexical(), Sandbox::lexical());
    library(&from, 2);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("library.tar");
    archive_of(&from, &file);
    let bytes = std::fs::read(&file).unwrap();
    let check = |name: &str, bytes: &[u8], word: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let refused = to.run(&["import", path.to_str().unwrap()]).ended(1);
        assert!(refused.err.contains(word), "{}", refused.err);
        assert_eq!(listed(&to), [Value::Null; 0]);
    };
    check("cut", &bytes[..bytes.len() / 2], "is cut off at byte");
    let mut other = bytes.clone();
    let at = bytes.windows(8).position(|window| window == b"treasure").unwrap();
    other[at] = b'T';
    check("changed", &other, "was changed: documents/0000000");
    check(
        "none",
        b"# Number 1, and much more that is no archive",
        "cut off at byte",
    );
    let missing = to.run(&["import", "nowhere.tar"]).ended(1);
    assert!(missing.err.contains("nowhere.tar"), "{}", missing.err);
}

#[test]
fn vectors_of_another_model_are_refused() {
    let (home, folder) = (Sandbox::lexical(), tempfile::tempdir().unwrap());
    library(&home, 1);
    let file = folder.path().join("other.tar");
    let spec = IndexSpec {
        embedder: Some("another-model".into()),
        dimensions: Some(7),
        lexical: "other".into(),
    };
    let header = ArchiveHeader::new("test", Some(spec));
    let (archive, _) = ArchiveWriter::open(&file, &header, |_| true).unwrap();
    archive
        .finish(&[Value::Null; 0], &json!({}), &[Value::Null; 0])
        .unwrap();
    let refused = home.run(&["import", file.to_str().unwrap()]).ended(1);
    for part in ["another-mode with 7 dimensions", "this library's is without vectors"] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    // A library that nobody began takes it.
    let fresh = Sandbox::lexical();
    assert_eq!(counts(&import(&fresh, &file, &[])), [0; 4]);
}

#[test]
fn what_a_library_has_stays() {
    let (from, to) = (Sandbox::lexical(), Sandbox::lexical());
    library(&from, 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("library.tar");
    let line = |text: &str| json!({"uri": "test:pump", "text": text}).to_string();
    from.run_with(&["ingest", "--jsonl", "-"], &line("The pump needs oil."))
        .ended(0);
    to.run_with(&["ingest", "--jsonl", "-"], &line("The pump needs nothing."))
        .ended(0);
    archive_of(&from, &file);
    let kept = to.run(&["--json", "import", file.to_str().unwrap()]).ended(1);
    assert_eq!(counts(&kept.json()), [2, 0, 1, 0], "{}", kept.out);
    assert!(
        kept.err.contains("test:pump") && kept.err.contains("stays"),
        "{}",
        kept.err
    );
    let answer = to.run(&["--json", "search", "pump needs"]).ended(0).json();
    assert!(answer["passages"][0]["text"].as_str().unwrap().contains("nothing"));
}

#[test]
fn what_was_interrupted_goes_on() {
    let (from, folder) = (Sandbox::lexical(), tempfile::tempdir().unwrap());
    library(&from, 40);
    let file = folder.path().join("library.tar");
    let told = archive_of(&from, &file);
    let bytes = std::fs::read(&file).unwrap();
    // As an export that was killed leaves it.
    let again = folder.path().join("again.tar");
    std::fs::write(folder.path().join("again.tar.part"), &bytes[..bytes.len() / 3]).unwrap();
    assert_eq!(archive_of(&from, &again)["sha256"], told["sha256"]);
    let to = Sandbox::lexical();
    let blobs = to.path().join(".ragstone/data/blobs/default");
    let begun = || std::fs::read_dir(&blobs).map_or(0, Iterator::count);
    for documents in [3, 9, 20] {
        let mut child = to
            .command(&["import", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("some of it is there", || {
            begun() >= documents || child.try_wait().unwrap().is_some()
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let told = import(&to, &file, &["--verify"]);
    let [imported, unchanged, kept, failed] = counts(&told);
    assert_eq!((imported + unchanged, kept, failed), (41, 0, 0), "{told}");
    assert_eq!(told["verified"]["same"], told["verified"]["questions"], "{told}");
    assert_eq!(listed(&to), listed(&from));
    // Uploads that were cut off wait for the sweep, as always.
    to.run(&["fsck", "--repair", "--older-than", "0s"]).ended(0);
    is_clean(&to);
    assert_eq!(found(&to), found(&from));
}

#[test]
fn a_library_moves_to_the_shared_set_and_back() {
    let Some(set) = Set::start() else { return };
    let (from, folder) = (Sandbox::lexical(), tempfile::tempdir().unwrap());
    library(&from, 12);
    let file = folder.path().join("library.tar");
    archive_of(&from, &file);
    let (there, worker) = (set.sandbox(), set.sandbox());
    // Workers take no part in it, and take nothing away.
    let _worker = crate::shared_set::start(&worker, "worker");
    let told = import(&there, &file, &["--verify"]);
    assert_eq!(counts(&told), [13, 0, 0, 0], "{told}");
    assert_eq!(told["verified"]["same"], told["verified"]["questions"], "{told}");
    assert_eq!(listed(&there), listed(&from));
    assert_eq!(found(&there), found(&from));
    is_clean(&there);
    assert_eq!(counts(&import(&there, &file, &[])), [0, 13, 0, 0]);
    let back = folder.path().join("back.tar");
    archive_of(&there, &back);
    let home = Sandbox::lexical();
    assert_eq!(counts(&import(&home, &back, &["--verify"])), [13, 0, 0, 0]);
    assert_eq!(listed(&home), listed(&from));
    assert_eq!(found(&home), found(&from));
}
