//! The real program, killed again and again while documents come, change and go: what is left must be what an
//! undisturbed run leaves.
//!
//! `RAGSTONE_TEST_CHAOS_KILLS` says how often (a few by default, 200 in the full run), `RAGSTONE_TEST_CHAOS_SEEDS` how many
//! runs of that there are (one by default), `RAGSTONE_TEST_CHAOS_SEED` repeats a run, and `RAGSTONE_TEST_CHAOS_SHARED=1`
//! goes over the PDFs and texts of `../shared/data` as well.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Condvar, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Sandbox;

const KILLS: u64 = 6;
/// Operations for each kill, so that something is always under way.
const OPERATIONS_A_KILL: u64 = 24;
/// The same over files, which take longer.
const FILE_OPERATIONS_A_KILL: u64 = 4;
/// Lives of a process, in milliseconds: from before it listens to long after.
const LIVES: std::ops::Range<u64> = 50..1_500;
/// Where the files are.
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
/// What of them takes part.
const EXTENSIONS: [&str; 3] = ["pdf", "txt", "md"];
/// Names of documents that take part.
pub const DOCUMENTS: u64 = 12;
/// Versions of each.
const VERSIONS: u64 = 4;
/// Jobs that are suspects wait for up to two minutes.
const SETTLED: Duration = Duration::from_secs(900);
/// Between two looks at the jobs.
const LOOK_EACH: Duration = Duration::from_millis(20);
/// No answer takes so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// Send this version of a document.
    Send(u64, u64),
    /// Delete a document.
    Delete(u64),
    /// Let only a department read it.
    Restrict(u64, u64),
}

pub fn operations(dice: &mut Dice, count: u64) -> Vec<Operation> {
    let mut operation = || {
        let document = dice.below(DOCUMENTS);
        match dice.below(8) {
            0 => Operation::Delete(document),
            1 => Operation::Restrict(document, dice.below(3)),
            _ => Operation::Send(document, dice.below(VERSIONS)),
        }
    };
    (0..count).map(|_| operation()).collect()
}

fn uri(document: u64) -> String {
    format!("test:document/{document}")
}

/// Paragraphs, most of them the same in all versions; some documents are a hundred times longer than others.
fn text(document: u64, version: u64) -> String {
    let paragraphs = if document.is_multiple_of(4) { 300 } else { 3 };
    let paragraph = |n: u64| {
        let edition = if n.is_multiple_of(7) { version } else { 0 };
        format!(
            "Paragraph {n} of document {document} in edition {edition}. {}",
            format!(
                "Word{} stands beside word{} in it. ",
                n * 31 % 97,
                (n + document) * 17 % 89
            )
            .repeat(8)
        )
    };
    (0..paragraphs).map(paragraph).collect::<Vec<_>>().join("\n\n")
}

/// What documents are made of.
pub enum Contents {
    /// Texts of our own.
    Texts,
    /// Files, each of which can be ingested.
    Files(Vec<PathBuf>),
}

/// A body and its type.
struct Body(String, Vec<u8>);

impl Body {
    fn json(value: &Value) -> Self {
        Self("application/json".into(), value.to_string().into_bytes())
    }

    fn form(uri: &str, title: &str, file: &Path) -> Self {
        let mut body = Vec::new();
        for (name, value) in [("uri", uri), ("title", title)] {
            let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend(format!("{head}{value}\r\n").into_bytes());
        }
        let name = file.file_name().unwrap().to_string_lossy();
        let head =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
        body.extend(head.into_bytes());
        body.extend(std::fs::read(file).unwrap());
        body.extend(format!("\r\n--{BOUNDARY}--\r\n").into_bytes());
        Self(format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }
}

/// Stands in none of the files.
const BOUNDARY: &str = "chaos-4f2d9a61c07b";

impl Contents {
    fn body(&self, document: u64, version: u64) -> Body {
        let (uri, title) = (uri(document), format!("Title {document}"));
        match self {
            Self::Texts => Body::json(&json!({"uri": uri, "title": title, "text": text(document, version)})),
            Self::Files(files) => {
                let number = (document * VERSIONS + version) as usize % files.len();
                Body::form(&uri, &title, &files[number])
            }
        }
    }

    /// The files of the shared data that can be ingested; none, with a word why, unless they are asked for.
    fn shared() -> Option<Self> {
        if number("RAGSTONE_TEST_CHAOS_SHARED") != Some(1) || !Path::new(SHARED).exists() {
            ragstone_testkit::skip_test(
                "kills over shared data",
                "RAGSTONE_TEST_CHAOS_SHARED=1 with shared/ beside the repository",
            );
            return None;
        }
        let mut files = Vec::new();
        find(Path::new(SHARED), &mut files);
        files.sort();
        let sandbox = sandbox();
        let mut arguments = vec!["--json", "ingest"];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        let ran = sandbox.run(&arguments);
        let published: Vec<Value> = ran
            .lines()
            .into_iter()
            .filter(|line| line["status"] == "published")
            .collect();
        files.retain(|file| {
            let ends = format!("/{}", file.file_name().unwrap().to_string_lossy());
            let is_it = |line: &Value| line["uri"].as_str().unwrap().ends_with(&ends);
            published.iter().any(is_it)
        });
        assert!(files.len() > 5, "{}", ran.err);
        eprintln!("chaos: {} files", files.len());
        Some(Self::Files(files))
    }
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().canonicalize().unwrap();
        if path.is_dir() {
            find(&path, files);
        } else if EXTENSIONS
            .iter()
            .any(|known| path.extension().is_some_and(|it| it == *known))
        {
            files.push(path);
        }
    }
}

/// Where a build without optimisation has the time that parsing takes.
pub fn sandbox() -> Sandbox {
    Sandbox::lexical()
        .with("RAGSTONE_PARSE__CPU_SECONDS", "300")
        .with("RAGSTONE_PARSE__WALL_SECONDS", "600")
}

/// Where the server of the moment listens.
#[derive(Default)]
pub struct Door {
    server: Mutex<Current>,
    changed: Condvar,
}

#[derive(Default)]
struct Current {
    life: u64,
    address: Option<String>,
    /// No further life will come.
    over: bool,
}

impl Door {
    pub fn open(&self, life: u64, address: Option<String>) {
        let mut current = self.server.lock().unwrap();
        if current.life <= life {
            (current.life, current.address) = (life, address);
        }
        drop(current);
        self.changed.notify_all();
    }

    /// Lets nobody wait any longer.
    pub fn close(&self) {
        self.server.lock().unwrap().over = true;
        self.changed.notify_all();
    }

    /// An address other than `known`.
    fn other_than(&self, known: Option<&str>) -> String {
        let waits =
            |current: &mut Current| !current.over && (current.address.is_none() || current.address.as_deref() == known);
        let current = self.changed.wait_while(self.server.lock().unwrap(), waits).unwrap();
        assert!(!current.over, "the last server does not answer");
        current.address.clone().unwrap()
    }

    /// Asks until a living server answers. Gives whether it had to ask more than once, too.
    fn request(&self, method: &str, path: &str, body: Option<&Body>) -> (u16, Value, bool) {
        let (mut address, mut again) = (self.other_than(None), false);
        loop {
            match request(&address, method, path, body) {
                Ok((status, value)) => return (status, value, again),
                Err(_) => {
                    again = true;
                    address = self.other_than(Some(&address));
                }
            }
        }
    }
}

fn request(address: &str, method: &str, path: &str, body: Option<&Body>) -> std::io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (kind, body) = body.map_or(("application/json", &[][..]), |Body(kind, body)| (kind, body));
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut = || std::io::Error::other("the answer broke off");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(cut)?;
    let value = match body {
        "" if head.to_ascii_lowercase().contains("content-length: 0") => Value::Null,
        body => serde_json::from_str(body).map_err(|_| cut())?,
    };
    Ok((status, value))
}

/// Ids of documents by their number, as the server gave them.
pub type Ids = BTreeMap<u64, String>;

pub fn carry_out(door: &Door, contents: &Contents, operation: Operation, ids: &mut Ids) {
    let (method, path, body, number) = match operation {
        Operation::Send(document, version) => (
            "POST",
            "/api/v1/documents".to_owned(),
            Some(contents.body(document, version)),
            document,
        ),
        Operation::Delete(document) => {
            let Some(id) = ids.get(&document) else { return };
            ("DELETE", format!("/api/v1/documents/{id}"), None, document)
        }
        Operation::Restrict(document, department) => {
            let Some(id) = ids.get(&document) else { return };
            let body = json!({"readers": [format!("dept:{department}")]});
            let path = format!("/api/v1/documents/{id}");
            ("PATCH", path, Some(Body::json(&body)), document)
        }
    };
    let (status, answer, again) = door.request(method, &path, body.as_ref());
    let expected: &[u16] = match operation {
        Operation::Send(..) => &[200, 202],
        // Deleted before, or by the request whose answer was lost.
        Operation::Delete(..) => &[202, 404],
        Operation::Restrict(..) => &[200, 404],
    };
    assert!(
        expected.contains(&status),
        "{operation:?}, asked again: {again}: {status} {answer}"
    );
    if let Some(id) = answer["document"]["id"].as_str() {
        ids.insert(number, id.to_owned());
    }
}

/// A life of the server; its address is told as soon as it listens.
fn start<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    sandbox: &Sandbox,
    door: &'scope Door,
    life: u64,
) -> Child {
    let mut command = sandbox.command(&["serve", "--listen", "127.0.0.1:0"]);
    let piped = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    scope.spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("serving at http://") {
                let address = address.split_whitespace().next().unwrap_or_default();
                door.open(life, Some(address.to_owned()));
            }
        }
    });
    child
}

/// Carries out `operations` while the server is killed after each of `lives`, then waits for the last one's jobs.
pub fn state_after(sandbox: &Sandbox, contents: &Contents, operations: &[Operation], lives: &[u64]) -> Value {
    let door = Door::default();
    std::thread::scope(|scope| {
        let (sender, finished) = mpsc::channel();
        let door = &door;
        scope.spawn(move || {
            let mut ids = Ids::new();
            operations
                .iter()
                .for_each(|operation| carry_out(door, contents, *operation, &mut ids));
            // Nobody listens any more if the test failed.
            let _ = sender.send(());
        });
        let (_silent, nothing) = mpsc::channel::<()>();
        for (life, milliseconds) in (0..).zip(lives) {
            let mut child = start(scope, sandbox, door, life);
            // Its life is as long as nothing comes.
            let _ = nothing.recv_timeout(Duration::from_millis(*milliseconds));
            child.kill().unwrap();
            child.wait().unwrap();
            door.open(life, None);
        }
        let mut child = start(scope, sandbox, door, u64::MAX);
        let _ = finished.recv_timeout(PATIENCE * 4);
        let state = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| settled_state(door)));
        child.kill().unwrap();
        child.wait().unwrap();
        door.close();
        state.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn get(door: &Door, path: &str) -> Value {
    let (status, value, _) = door.request("GET", path, None);
    assert_eq!(status, 200, "{path}: {value}");
    value
}

/// Documents, chunks and what searches find, once no job is at work. None may have failed.
pub fn settled_state(door: &Door) -> Value {
    let begun = std::time::Instant::now();
    let (_silent, nothing) = mpsc::channel::<()>();
    let is_at_work = |state: &str| get(door, &format!("/api/v1/jobs?state={state}&limit=1"))["jobs"] != json!([]);
    while is_at_work("queued") || is_at_work("running") {
        assert!(
            begun.elapsed() < SETTLED,
            "jobs do not end: {}",
            get(door, "/api/v1/jobs?limit=1000")
        );
        let _ = nothing.recv_timeout(LOOK_EACH);
    }
    let failed = get(door, "/api/v1/jobs?state=failed&limit=1000");
    assert_eq!(failed["jobs"], json!([]), "a death is nobody's fault");
    state(door)
}

fn state(door: &Door) -> Value {
    let listed = get(door, "/api/v1/documents?limit=1000");
    let documents: BTreeMap<String, Value> = listed["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| {
            let id = document["id"].as_str().unwrap();
            let chunks = &get(door, &format!("/api/v1/documents/{id}/chunks?limit=1000"))["chunks"];
            let kept = json!({
                "id": id, "title": document["title"], "status": document["status"], "chunks": document["chunks"],
                "readers": document["readers"], "last_error": document["last_error"], "stored": chunks,
            });
            (document["uri"].as_str().unwrap().to_owned(), kept)
        })
        .collect();
    let search = |query: String| {
        let body = json!({"query": query, "limit": 100});
        let (status, found, _) = door.request("POST", "/api/v1/search", Some(&Body::json(&body)));
        assert_eq!(status, 200, "{found}");
        let passages = found["passages"].as_array().unwrap().iter();
        let told = |passage: &Value| {
            let score = passage["score"].as_f64().unwrap();
            json!([passage["chunk_id"], (score * 1e6).round(), passage["ranks"]])
        };
        passages.map(told).collect::<Vec<_>>()
    };
    let searches: Vec<_> = (0..20)
        .map(|n| search(format!("word{} edition {}", n * 5 % 97, n % VERSIONS)))
        .collect();
    json!({"documents": documents, "searches": searches})
}

pub fn number(name: &str) -> Option<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how often to kill is for whoever runs the tests to say"
    )]
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn killing_changes_nothing() {
    kill_over(&Contents::Texts, OPERATIONS_A_KILL);
}

#[test]
fn killing_changes_nothing_of_files() {
    if let Some(files) = Contents::shared() {
        kill_over(&files, FILE_OPERATIONS_A_KILL);
    }
}

fn kill_over(contents: &Contents, operations_a_kill: u64) {
    let kills = number("RAGSTONE_TEST_CHAOS_KILLS").unwrap_or(KILLS);
    let first = number("RAGSTONE_TEST_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    for seed in (first..).take(number("RAGSTONE_TEST_CHAOS_SEEDS").unwrap_or(1) as usize) {
        eprintln!("chaos: repeat with RAGSTONE_TEST_CHAOS_KILLS={kills} RAGSTONE_TEST_CHAOS_SEED={seed}");
        kill_with(seed, kills, contents, operations_a_kill);
    }
}

fn kill_with(seed: u64, kills: u64, contents: &Contents, operations_a_kill: u64) {
    let mut dice = Dice(seed);
    let operations = operations(&mut dice, kills * operations_a_kill + DOCUMENTS);
    let life = |dice: &mut Dice| LIVES.start + dice.below(LIVES.end - LIVES.start);
    let lives: Vec<u64> = (0..kills).map(|_| life(&mut dice)).collect();
    let (calm, killed) = (sandbox(), sandbox());
    let expected = state_after(&calm, contents, &operations, &[]);
    assert_ne!(expected["documents"], json!({}));
    let found = state_after(&killed, contents, &operations, &lives);
    for part in ["documents", "searches"] {
        assert_eq!(found[part], expected[part], "{part}, seed {seed}, {kills} kills");
    }
    for sandbox in [&calm, &killed] {
        sandbox.run(&["fsck"]).ended(0);
    }
}
