//! The shared set for tests: a real PostgreSQL, a real Redis, a folder for blobs, and Qdrant: the one of
//! `RAGSTONE_TEST_QDRANT_URL`, else a `qdrant` of the PATH, else a server of its protocol in this process.
//!
//! Invariant: every program ends with its handle, and with this process in whatever way it ends: a shell holds it, and
//! stops it when the pipe from here closes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ragstone_adapters::index::qdrant::testing::TestServer;
use serde_json::Value;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::support::{Sandbox, Server};

/// Looks whether something answers, before it counts as broken, and the pause between two.
const LOOKS: usize = 3_000;

/// The servers, and what processes need to know of them.
pub struct Set {
    folder: tempfile::TempDir,
    database: Program,
    redis: Program,
    qdrant: Qdrant,
    collection: String,
}

/// Who answers as Qdrant.
enum Qdrant {
    Given(String),
    Started { _program: Program, url: String },
    Ours { _runtime: Runtime, url: String },
}

impl Set {
    /// How many generations of a document have blobs.
    pub fn generations_of(&self, document: &str) -> usize {
        let folder = self.folder.path().join("blobs/default").join(document);
        std::fs::read_dir(folder).unwrap().count()
    }

    /// None, said aloud, where a program is missing.
    pub fn start() -> Option<Self> {
        let (Some(postgres), Some(redis)) = (
            ragstone_testkit::find_postgresql(),
            ragstone_testkit::find_program("redis-server"),
        ) else {
            ragstone_testkit::skip_installed_test("shared stores", "apt-get install postgresql redis-server");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let owner = ragstone_testkit::unprivileged_user();
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        std::fs::create_dir(folder.path().join("blobs")).unwrap();
        let set = Self {
            database: database(&postgres, folder.path(), owner),
            redis: Program::start(
                KILL,
                "exec \"$0\" --port 0 --unixsocket \"$1/redis\" --dir \"$1\" --save '' >>redis.log 2>&1",
                &[&redis, folder.path()],
                folder.path(),
                None,
            ),
            qdrant: qdrant(folder.path()),
            collection: format!("test-{}", Uuid::new_v4()),
            folder,
        };
        set.wait_for_redis();
        Some(set)
    }

    /// A working directory of its own for a process of the set.
    pub fn sandbox(&self) -> Sandbox {
        let folder = self.folder.path().display();
        let url = match &self.qdrant {
            Qdrant::Given(url) | Qdrant::Started { url, .. } | Qdrant::Ours { url, .. } => url,
        };
        Sandbox::lexical()
            .with("DATABASE_URL", &format!("host={folder} user=test dbname=postgres"))
            .with("REDIS_URL", &format!("redis+unix://{folder}/redis"))
            .with("QDRANT_URL", url)
            .with("RAGSTONE_INDEX__QDRANT_COLLECTION", &self.collection)
            .with("RAGSTONE_BLOBS_URL", &format!("{folder}/blobs"))
            // Where a build without optimisation has the time that parsing takes.
            .with("RAGSTONE_PARSE__CPU_SECONDS", "300")
            .with("RAGSTONE_PARSE__WALL_SECONDS", "600")
            .with("RAGSTONE_JOBS__LEASE_SECONDS", "5")
            .with("RAGSTONE_JOBS__POLL_SECONDS", "1")
    }

    /// A database that is empty, as another library has it.
    pub fn another_database(&self) -> String {
        let folder = self.folder.path();
        let createdb = ragstone_testkit::find_postgresql().unwrap().join("createdb");
        let made = Command::new(createdb)
            .args(["-h", &folder.display().to_string(), "-U", "test", "another"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("host={} user=test dbname=another", folder.display())
    }

    /// Forgets everything that Redis holds.
    pub fn wipe_redis(&self) {
        let mut stream = UnixStream::connect(self.folder.path().join("redis")).unwrap();
        stream.write_all(b"FLUSHALL\r\n").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+OK\r\n");
    }

    pub fn stop_redis(&mut self) {
        self.redis.stop();
    }

    pub fn start_redis(&mut self) {
        self.redis.run();
        self.wait_for_redis();
    }

    /// Ends the database as a crash would.
    pub fn stop_database(&mut self) {
        self.database.stop();
    }

    pub fn start_database(&mut self) {
        self.database.run();
    }

    fn wait_for_redis(&self) {
        let socket = self.folder.path().join("redis");
        until("redis answers", || UnixStream::connect(&socket).is_ok());
    }
}

/// A service that speaks S3, with a bucket, and the settings that name it; none, said aloud, where there is no program.
pub struct S3 {
    _program: Program,
    endpoint: String,
}

impl S3 {
    pub fn start(set: &Set) -> Option<Self> {
        let Some(program) = ragstone_testkit::find_program("moto_server") else {
            ragstone_testkit::skip_test("shared stores over S3", "pip install 'moto[s3,server]'");
            return None;
        };
        let port = free_port();
        let script = format!("exec \"$0\" -H 127.0.0.1 -p {port} >>moto.log 2>&1");
        let program = Program::start(KILL, &script, &[&program], set.folder.path(), None);
        let endpoint = format!("127.0.0.1:{port}");
        until("the S3 service answers", || TcpStream::connect(&endpoint).is_ok());
        let mut stream = TcpStream::connect(&endpoint).unwrap();
        write!(
            stream,
            "PUT /bucket HTTP/1.0\r\nHost: {endpoint}\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let answer = std::io::read_to_string(stream).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
        Some(Self {
            _program: program,
            endpoint: format!("http://{endpoint}"),
        })
    }

    /// A process whose blobs are in the bucket.
    pub fn sandbox(&self, set: &Set) -> Sandbox {
        set.sandbox()
            .with("RAGSTONE_BLOBS_URL", "s3://bucket/some/prefix")
            .with("AWS_ENDPOINT_URL", &self.endpoint)
            .with("AWS_ACCESS_KEY_ID", "key-hidden")
            .with("AWS_SECRET_ACCESS_KEY", "secret-hidden")
    }
}

/// `ragstone serve` of a role on a free port.
pub fn start(sandbox: &Sandbox, role: &str) -> Server {
    let arguments: &[&str] = match role {
        "worker" => &["worker", "--listen", "127.0.0.1:0"],
        role => &["serve", "--listen", "127.0.0.1:0", "--role", role],
    };
    Server::spawn(sandbox.command(arguments).stdin(Stdio::null()))
}

/// Looks until `done`.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if done() {
            return;
        }
        // A look costs a connection; so many as fit would be a load of their own.
        let _ = std::sync::mpsc::channel::<()>()
            .1
            .recv_timeout(std::time::Duration::from_millis(20));
    }
    panic!("waited in vain: {what}");
}

/// A request over a connection of its own: the status and the JSON, or null.
pub fn call(server: &Server, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let (status, text) = raw(server, method, path, body);
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// The same, with the body as text.
pub fn raw(server: &Server, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    )
    .unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// What ends PostgreSQL with all its processes, as a crash does.
const QUIT: &str = "QUIT";
/// What ends anything; a shell lets what it starts not hear of the other one.
const KILL: &str = "KILL";

/// A program in the folder of the set, held by a shell.
struct Program {
    script: String,
    arguments: Vec<PathBuf>,
    folder: PathBuf,
    owner: Option<(u32, u32)>,
    shell: Option<Child>,
}

impl Program {
    fn start(signal: &str, script: &str, arguments: &[&Path], folder: &Path, owner: Option<(u32, u32)>) -> Self {
        let mut program = Self {
            // The program is a child of the shell that reads from here.
            script: format!("({script}) & server=$!; read -r _; kill -{signal} $server; wait $server"),
            arguments: arguments.iter().map(|argument| argument.to_path_buf()).collect(),
            folder: folder.to_owned(),
            owner,
            shell: None,
        };
        program.run();
        program
    }

    fn run(&mut self) {
        let mut command = Command::new("/bin/sh");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        let shell = command
            .args(["-c", &self.script])
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.shell = Some(shell.unwrap());
    }

    fn stop(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            drop(shell.wait());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
    }
}

fn database(programs: &Path, folder: &Path, owner: Option<(u32, u32)>) -> Program {
    let mut initdb = Command::new(programs.join("initdb"));
    initdb
        .current_dir(folder)
        .args(["-D", "data", "-U", "test", "--auth=trust", "--no-sync"]);
    initdb.args(["--encoding=UTF8", "--locale=C.UTF-8"]);
    if let Some((user, group)) = owner {
        initdb.uid(user).gid(group);
    }
    let made = initdb.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // A restart finds the last one's id file, and overwrites it.
    let script = "exec \"$0\" -D data -k \"$1\" -c listen_addresses= -c fsync=off -c max_connections=300 \
                  >>postgres.log 2>&1";
    Program::start(QUIT, script, &[&programs.join("postgres"), folder], folder, owner)
}

fn qdrant(folder: &Path) -> Qdrant {
    if let Some(url) = ragstone_testkit::read_variable("RAGSTONE_TEST_QDRANT_URL") {
        return Qdrant::Given(url);
    }
    if let Some(program) = ragstone_testkit::find_program("qdrant") {
        let (http, grpc) = (free_port(), free_port());
        let script = format!(
            "QDRANT__SERVICE__HOST=127.0.0.1 QDRANT__SERVICE__HTTP_PORT={http} QDRANT__SERVICE__GRPC_PORT={grpc} \
             QDRANT__STORAGE__STORAGE_PATH=qdrant QDRANT__STORAGE__SNAPSHOTS_PATH=snapshots \
             QDRANT__TELEMETRY_DISABLED=true exec \"$0\" >>qdrant.log 2>&1"
        );
        let started = Program::start(KILL, &script, &[&program], folder, None);
        until("qdrant answers", || TcpStream::connect(("127.0.0.1", grpc)).is_ok());
        return Qdrant::Started {
            _program: started,
            url: format!("http://127.0.0.1:{grpc}"),
        };
    }
    ragstone_testkit::skip_test(
        "shared stores over Qdrant itself",
        "set RAGSTONE_TEST_QDRANT_URL, or put qdrant on the PATH",
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let url = runtime.block_on(TestServer::start()).url();
    Qdrant::Ours { _runtime: runtime, url }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
