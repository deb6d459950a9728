//! A disk that is full and one that is read-only, on a small file system in memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::request;
use crate::support::{Sandbox, Server};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: usize = 1024 * 1024;

/// A sandbox whose data directory is a file system of its own.
struct Disk {
    sandbox: Sandbox,
}

impl Disk {
    /// None where this user may not mount.
    fn new(size: &str) -> Option<Self> {
        let sandbox = Sandbox::lexical();
        let path = sandbox.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let options = format!("size={size}");
        if !run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], &path) {
            ragstone_testkit::skip_test("a full disk", "run as root on Linux");
            return None;
        }
        let data = path.display().to_string();
        let sandbox = sandbox
            .with("RAGSTONE_DATA", &data)
            .with("RAGSTONE_JOBS__POLL_SECONDS", "1")
            .with("RAGSTONE_JOBS__RETRY_BASE_SECONDS", "1")
            .with("RAGSTONE_JOBS__RETRY_CAP_SECONDS", "1")
            .with("RAGSTONE_JOBS__MAX_ATTEMPTS", "100");
        Some(Self { sandbox })
    }

    /// The same without a reserve.
    fn without_reserve(mut self) -> Self {
        let sandbox = std::mem::replace(&mut self.sandbox, Sandbox::lexical());
        self.sandbox = sandbox.with("RAGSTONE_DATA__RESERVE_BYTES", "0");
        self
    }

    fn path(&self) -> std::path::PathBuf {
        self.sandbox.path().join("disk")
    }

    /// Whether a blob of this document is left.
    fn holds(&self, document: &str) -> bool {
        self.path().join("blobs/default").join(document).exists()
    }

    /// Whether not one page more can be written.
    fn is_full(&self) -> bool {
        let probe = self.path().join("probe");
        let written = std::fs::write(&probe, [1]);
        let _ = std::fs::remove_file(&probe);
        written.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let ended = Command::new(program).args(arguments).arg(path).output();
    ended.is_ok_and(|ended| ended.status.success())
}

/// Posts a file of `size` bytes; the whole answer as text.
fn post(server: &Server, size: usize) -> String {
    let head = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big.txt\"\r\n\r\n";
    let tail = "\r\n--x--\r\n";
    let line = b"The heron waits by the mill pond until the evening comes.\n";
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(
        stream,
        "POST /api/v1/documents HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: multipart/form-data; boundary=x\r\n\r\n{head}",
        server.address,
        head.len() + size + tail.len()
    )
    .unwrap();
    let body: Vec<u8> = line.iter().copied().cycle().take(size).collect();
    // A server that refuses need not read to the end.
    let _ = stream.write_all(&body).and_then(|()| stream.write_all(tail.as_bytes()));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Takes all the room there is.
fn fill(path: &Path) {
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    let mut block = vec![1; MIB];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
    }
}

#[test]
fn an_upload_that_does_not_fit_is_507_and_leaves_nothing() {
    let Some(disk) = Disk::new("24m") else { return };
    let server = Server::start(&disk.sandbox);
    let answer = post(&server, 40 * MIB);
    assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
    assert!(
        answer.contains("application/problem+json") && answer.contains("storage_full"),
        "{answer}"
    );
    let incoming = std::fs::read_dir(disk.path().join("blobs/incoming"));
    assert_eq!(incoming.map_or(0, Iterator::count), 0, "nothing is kept");
    let listed = disk.sandbox.run(&["--json", "document", "list"]).ended(0);
    assert!(listed.lines().is_empty());
    let file = disk.sandbox.write("small.md", "# Pond\n\nThe heron waits.\n");
    let ran = disk.sandbox.run(&["--json", "ingest", file.to_str().unwrap()]).ended(0);
    assert_eq!(ran.json()["status"], "published");
    disk.sandbox.run(&["fsck"]).ended(0);
}

#[test]
fn an_ingestion_that_runs_out_of_disk_passes_once_there_is_room() {
    let Some(disk) = Disk::new("48m").map(Disk::without_reserve) else {
        return;
    };
    let server = Server::start(&disk.sandbox);
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 44 * MIB]).unwrap();
    let answer = post(&server, 2 * MIB);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let job = || disk.sandbox.run(&["--json", "job", "list"]).ended(0).json();
    until("the disk to be full", || {
        let job = job();
        assert!(job["state"] != "failed" && job["state"] != "succeeded", "{job}");
        // Where the disk is full to the last page, not even the error can be written.
        (!job["error"].is_null() || disk.is_full()).then_some(())
    });
    std::fs::remove_file(&filler).unwrap();
    until("the job to pass", || (job()["state"] == "succeeded").then_some(()));
    let found = disk
        .sandbox
        .run(&["--json", "search", "heron", "--limit", "1"])
        .ended(0);
    assert!(found.json().to_string().contains("mill pond"));
    let report = disk.sandbox.run(&["--json", "fsck"]).ended(0).json();
    assert_eq!(report["documents"], json!(1), "{report}");
}

#[test]
fn a_read_only_data_directory_is_refused_at_start() {
    let Some(disk) = Disk::new("24m") else { return };
    let file = disk.sandbox.write("small.md", "# Pond\n\nThe heron waits.\n");
    disk.sandbox.run(&["ingest", file.to_str().unwrap()]).ended(0);
    assert!(run("mount", &["-o", "remount,ro"], &disk.path()));
    let refused = disk.sandbox.run(&["serve", "--listen", "127.0.0.1:0"]).ended(1);
    assert!(
        refused.err.contains("cannot write to the data directory") && refused.err.contains("hint: "),
        "{}",
        refused.err
    );
}

#[test]
fn a_full_disk_takes_nothing_in_and_lets_documents_be_found_and_deleted_after_a_restart_too() {
    let Some(disk) = Disk::new("64m") else { return };
    let server = Server::start(&disk.sandbox);
    let sent = |uri: &str| {
        let body = json!({"uri": uri, "text": format!("The heron waits by the mill pond, says {uri}.")});
        request(&server.address, "POST", "/api/v1/documents").json(&body).send()
    };
    let ids: Vec<String> = ["test:a", "test:b", "test:c"]
        .iter()
        .map(|uri| sent(uri).ok(202)["document"]["id"].as_str().unwrap().to_owned())
        .collect();
    let published = |server: &Server| {
        let listed = request(&server.address, "GET", "/api/v1/documents?status=published")
            .send()
            .ok(200);
        listed["documents"].as_array().unwrap().len()
    };
    until("all to be published", || (published(&server) == 3).then_some(()));
    let filler = disk.path().join("filler");
    fill(&filler);
    let disk_is = |server: &Server| {
        let ready = request(&server.address, "GET", "/readyz").send().ok(200);
        ready["dependencies"]["disk"].as_str().unwrap().to_owned()
    };
    until("the full disk to be told", || {
        disk_is(&server).starts_with("full: ").then_some(())
    });
    let said = disk_is(&server);
    assert!(
        said.contains("MiB more are missing") && said.contains("hint: "),
        "{said}"
    );
    sent("test:d").problem(507, "storage_full");
    let deleted = request(&server.address, "DELETE", &format!("/api/v1/documents/{}", ids[0])).send();
    deleted.ok(202);
    until("the first to be removed", || (!disk.holds(&ids[0])).then_some(()));

    let has_room = |server: &Server| (disk_is(server) == "ok").then_some(());
    std::fs::remove_file(&filler).unwrap();
    until("the room to be seen", || has_room(&server));

    // Killed, and full to the last page: what comes after it starts, answers and deletes.
    drop(server);
    fill(&filler);
    assert!(disk.is_full());
    let server = Server::start(&disk.sandbox);
    assert!(disk_is(&server).starts_with("full: "));
    let found = request(&server.address, "POST", "/api/v1/search")
        .json(&json!({"query": "heron"}))
        .send();
    assert_eq!(found.ok(200)["passages"].as_array().unwrap().len(), 2);
    for id in &ids[1..] {
        request(&server.address, "DELETE", &format!("/api/v1/documents/{id}"))
            .send()
            .ok(202);
        until("it to be removed", || (!disk.holds(id)).then_some(()));
    }
    let log = std::fs::metadata(disk.path().join("ragstone.db-wal")).unwrap().len();
    assert!(log < 4 * MIB as u64, "{log}");

    // With room it takes in as before.
    std::fs::remove_file(&filler).unwrap();
    until("the room to be seen", || has_room(&server));
    let body = json!({"uri": "test:e", "text": "The heron is back."});
    request(&server.address, "POST", "/api/v1/documents")
        .json(&body)
        .send()
        .ok(202);
    until("it to be published", || (published(&server) == 1).then_some(()));
    drop(server);
    disk.sandbox.run(&["fsck"]).ended(0);
}
