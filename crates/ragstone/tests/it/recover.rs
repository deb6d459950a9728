//! `recover`: the database made again from the blobs, whatever became of it, and no more open than it was.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::http::request;
use crate::support::{Sandbox, Server};

/// How many recoveries the loop makes; the default keeps the suite short.
const RECOVERIES: &str = "RAGSTONE_TEST_RECOVERIES";
const DATABASE: [&str; 3] = ["ragstone.db", "ragstone.db-wal", "ragstone.db-shm"];

fn data(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join(".ragstone/data")
}

fn lose_database(sandbox: &Sandbox) {
    for name in DATABASE {
        let _ = fs::remove_file(data(sandbox).join(name));
    }
}

/// Document `n`, for one of three kinds of readers.
fn document(n: usize) -> Value {
    let readers = match n % 3 {
        0 => json!(["everyone"]),
        1 => json!(["group:a"]),
        _ => json!(["dept:b", "user:ada"]),
    };
    json!({
        "uri": format!("https://example.com/{n}"),
        "title": format!("Zebra {n}"),
        "text": format!("# Zebra {n}\n\nZebra number {n} lives in stable {}.", n % 7),
        "metadata": { "number": n, "tags": ["x", "ü"] },
        "source_url": format!("https://example.com/zebras/{n}"),
        "readers": readers,
    })
}

fn ingest(sandbox: &Sandbox, numbers: std::ops::Range<usize>) {
    let lines: Vec<_> = numbers.map(|n| document(n).to_string()).collect();
    sandbox
        .run_with(&["ingest", "--jsonl", "-"], &lines.join("\n"))
        .ended(0);
}

/// All documents, without what making the points again changes.
fn listing(sandbox: &Sandbox) -> Vec<Value> {
    let mut listed = sandbox.run(&["--json", "document", "list"]).ended(0).lines();
    for document in &mut listed {
        document.as_object_mut().unwrap().remove("updated_at");
    }
    listed.sort_unstable_by_key(|document| document["id"].as_str().unwrap().to_owned());
    listed
}

/// A key of a caller in this group.
fn key(sandbox: &Sandbox, name: &str, readers: &[&str]) -> String {
    let arguments = [&["--json", "key", "create", name, "--role", "reader"], readers].concat();
    let made = sandbox.run(&arguments).ended(0).json();
    made["key"].as_str().unwrap().to_owned()
}

fn get(server: &Server, key: &str, path: &str) -> Value {
    let answer = request(&server.address, "GET", path)
        .header("Authorization", &format!("Bearer {key}"))
        .send();
    assert_eq!(answer.status, 200, "{}", answer.text);
    serde_json::from_str(&answer.text).unwrap()
}

/// What a caller sees: its documents and the texts of their chunks.
fn seen(server: &Server, key: &str) -> Vec<(Value, Vec<Value>)> {
    let listed = get(server, key, "/api/v1/documents?limit=1000");
    assert_eq!(listed["next_cursor"], Value::Null);
    let documents = listed["documents"].as_array().unwrap();
    let mut all: Vec<_> = documents
        .iter()
        .map(|document| {
            let id = document["id"].as_str().unwrap();
            let chunks = get(server, key, &format!("/api/v1/documents/{id}/chunks"));
            let chunks = chunks["chunks"].as_array().unwrap().iter();
            let text = |chunk: &Value| json!([chunk["text"], chunk["range"], chunk["page"], chunk["section"]]);
            let mut document = document.clone();
            document.as_object_mut().unwrap().remove("updated_at");
            (document, chunks.map(text).collect())
        })
        .collect();
    all.sort_unstable_by_key(|(document, _)| document["id"].as_str().unwrap().to_owned());
    all
}

/// What each of three callers sees, through keys that are made for it.
fn seen_by_all(sandbox: &Sandbox) -> Vec<Vec<(Value, Vec<Value>)>> {
    let callers = [&["--group", "a"][..], &["--department", "b"], &["--user", "eve"]];
    let keys: Vec<_> = callers
        .iter()
        .enumerate()
        .map(|(n, readers)| key(sandbox, &format!("caller-{n}"), readers))
        .collect();
    let server = Server::start(sandbox);
    let seen = keys.iter().map(|key| seen(&server, key)).collect();
    assert_eq!(server.stop(), Some(0));
    seen
}

#[test]
fn a_database_of_500_documents_comes_back() {
    const DOCUMENTS: usize = 500;
    let sandbox = Sandbox::lexical();
    ingest(&sandbox, 0..DOCUMENTS);
    let listed = listing(&sandbox);
    assert_eq!(listed.len(), DOCUMENTS);
    let seen = seen_by_all(&sandbox);
    // Groups, departments and everyone; and who holds neither.
    let counts: Vec<_> = seen.iter().map(Vec::len).collect();
    assert_eq!(counts, [334, 333, 167]);
    lose_database(&sandbox);
    sandbox.run(&["document", "list"]).ended(1);
    let told = sandbox.run(&["--json", "recover"]).ended(0).json();
    assert_eq!(told["recovered"]["documents"], DOCUMENTS, "{told}");
    assert_eq!(told["recovered"]["closed"], 0, "{told}");
    assert_eq!(told["index"], json!({ "documents": DOCUMENTS, "failed": 0 }));
    assert_eq!(listing(&sandbox), listed);
    let again = seen_by_all(&sandbox);
    assert!(again == seen, "each caller sees what it saw, and nothing else");
    let report = sandbox.run(&["--json", "fsck"]).ended(0).json();
    assert_eq!(report["documents"], DOCUMENTS, "{report}");
    let told = sandbox.run(&["--json", "recover"]).ended(0).json();
    assert_eq!(told, json!({ "recovered": null, "aside": [] }), "it fits");
}

#[test]
fn what_was_taken_away_or_deleted_is_not_given_back() {
    let sandbox = Sandbox::lexical();
    ingest(&sandbox, 0..6);
    let id = |n: usize| {
        let uri = format!("https://example.com/{n}");
        let found = sandbox
            .run(&["--json", "document", "list", "--uri", &uri])
            .ended(0)
            .lines();
        found[0]["id"].as_str().unwrap().to_owned()
    };
    let (closed, gone) = (id(0), id(3));
    let server = Server::start(&sandbox);
    let patched = request(&server.address, "PATCH", &format!("/api/v1/documents/{closed}"))
        .json(&json!({ "readers": ["group:board"], "title": "Closed" }))
        .send();
    assert_eq!(patched.status, 200, "{}", patched.text);
    // Killed at the answer: nothing is done in the background.
    let deleted = request(&server.address, "DELETE", &format!("/api/v1/documents/{gone}")).send();
    assert_eq!(deleted.status, 202, "{}", deleted.text);
    drop(server);
    lose_database(&sandbox);
    let told = sandbox.run(&["--json", "recover"]).ended(0).json();
    assert_eq!(told["recovered"]["documents"], 5, "{told}");
    let listed = listing(&sandbox);
    assert!(listed.iter().all(|document| document["id"] != gone.as_str()));
    let document = listed
        .iter()
        .find(|document| document["id"] == closed.as_str())
        .unwrap();
    assert_eq!(document["readers"], json!(["group:board"]));
    assert_eq!(document["title"], "Closed");
}

#[test]
fn a_server_that_runs_keeps_its_database() {
    let sandbox = Sandbox::lexical();
    ingest(&sandbox, 0..1);
    let server = Server::start(&sandbox);
    let refused = sandbox.run(&["recover"]).ended(1);
    assert!(refused.err.contains("in use by process"), "{}", refused.err);
    assert_eq!(server.stop(), Some(0));
}

/// What becomes of a database.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Cut,
    Deleted,
    Aged,
}

/// The numbers that a seed gives, one after the other.
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: u64) -> u64 {
        // Xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound.max(1)
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        let to = to.join(entry.file_name());
        if kind.is_dir() {
            copy_folder(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A library with a history, and its database as it was at each step.
fn with_history() -> (Sandbox, Vec<PathBuf>) {
    let sandbox = Sandbox::lexical();
    let mut ages = Vec::new();
    for step in 0..4 {
        ingest(&sandbox, step * 3..step * 3 + 3);
        if step == 2 {
            let listed = listing(&sandbox);
            let id = listed[0]["id"].as_str().unwrap();
            sandbox.run(&["document", "delete", id]).ended(0);
        }
        let age = sandbox.path().join(format!("age-{step}"));
        fs::create_dir(&age).unwrap();
        for name in DATABASE {
            let from = data(&sandbox).join(name);
            if from.exists() {
                fs::copy(from, age.join(name)).unwrap();
            }
        }
        ages.push(age);
    }
    ages.pop();
    (sandbox, ages)
}

fn damage(sandbox: &Sandbox, ages: &[PathBuf], seed: &mut Seed) -> Damage {
    let database = data(sandbox).join("ragstone.db");
    match seed.below(3) {
        0 => {
            let file = fs::File::options().write(true).open(&database).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(seed.below(length)).unwrap();
            if seed.below(2) == 0 {
                let _ = fs::remove_file(data(sandbox).join("ragstone.db-wal"));
            }
            Damage::Cut
        }
        1 => {
            lose_database(sandbox);
            Damage::Deleted
        }
        _ => {
            lose_database(sandbox);
            let age = seed.below(ages.len() as u64) as usize;
            copy_folder(&ages[age], &data(sandbox));
            Damage::Aged
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long the loop is is the caller's choice")]
fn whatever_became_of_the_database_the_library_comes_back() {
    let recoveries = std::env::var(RECOVERIES).ok();
    let recoveries = recoveries.and_then(|number| number.parse().ok()).unwrap_or(6);
    let (library, ages) = with_history();
    let expected = listing(&library);
    let texts = |sandbox: &Sandbox| {
        let found = sandbox
            .run(&["--json", "search", "zebra stable", "--limit", "100"])
            .ended(0);
        let mut texts: Vec<_> = found
            .lines()
            .iter()
            .flat_map(|line| match line["passages"].as_array() {
                Some(passages) => passages.clone(),
                None => vec![line.clone()],
            })
            .map(|passage| (passage["uri"].to_string(), passage["text"].to_string()))
            .collect();
        texts.sort_unstable();
        texts
    };
    let found = texts(&library);
    assert_eq!(found.len(), expected.len());
    for number in 0..recoveries {
        let sandbox = Sandbox::lexical();
        copy_folder(&data(&library), &data(&sandbox));
        let mut seed = Seed(number + 1);
        let damage = damage(&sandbox, &ages, &mut seed);
        let what = format!("seed {number}: {damage:?}");
        let told = sandbox.run(&["--json", "recover"]).ended(0).json();
        // The log of a database that is cut may hold all of it: then nothing is lost, and nothing made again.
        let is_whole = told["recovered"].is_null() && matches!(damage, Damage::Cut);
        if !is_whole {
            assert_eq!(told["recovered"]["documents"], expected.len(), "{what}: {told}");
            let aside = told["aside"].as_array().unwrap();
            assert_eq!(aside.is_empty(), matches!(damage, Damage::Deleted), "{what}: {told}");
        }
        assert_eq!(listing(&sandbox), expected, "{what}");
        assert_eq!(texts(&sandbox), found, "{what}");
        sandbox.run(&["fsck"]).ended(0);
    }
}
