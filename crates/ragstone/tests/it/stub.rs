//! The whole program beside an OpenAI-compatible service whose faults are chosen: the stub of the shared tools, built
//! once and started for each test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::http::{Answer, Event, Request, request};
use crate::support::{Ran, Sandbox, Server};

const SOURCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../shared/tools/openai_stub/Cargo.toml"
);

/// What the service wants to see, and nobody else may.
pub const KEY: &str = "sk-test-very-secret";

/// How often the stub is looked at for what must come.
const LOOKS: usize = 20_000;

pub struct Stub {
    process: Child,
    address: String,
}

/// The program with the stub as its chat model.
pub struct Service {
    // In the order of their end.
    server: Server,
    pub stub: Stub,
    sandbox: Sandbox,
}

impl Stub {
    fn start() -> Option<Self> {
        let mut process = Command::new(program()?)
            .args(["--listen", "127.0.0.1:0"])
            .env("STUB_API_KEY", KEY)
            .env("STUB_EMBED_DIM", "256")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        Some(Self { process, address })
    }

    /// Changes settings.
    pub fn set(&self, settings: &Value) {
        request(&self.address, "PUT", "/_stub/config")
            .json(settings)
            .send()
            .ok(200);
    }

    /// Strikes by these rules from here on, and counts from zero.
    pub fn faults(&self, rules: &[&str]) {
        self.set(&json!({ "faults": rules }));
        request(&self.address, "POST", "/_stub/reset").send().ok(200);
    }

    pub fn stats(&self, name: &str) -> i64 {
        request(&self.address, "GET", "/_stub/stats").send().ok(200)[name]
            .as_i64()
            .unwrap()
    }

    /// Waits until the stub counts as many.
    #[track_caller]
    pub fn until(&self, name: &str, count: i64) {
        self.wait(name, |counted| counted == count);
    }

    /// The same, or more.
    #[track_caller]
    pub fn until_at_least(&self, name: &str, count: i64) {
        self.wait(name, |counted| counted >= count);
    }

    #[track_caller]
    fn wait(&self, name: &str, is_there: impl Fn(i64) -> bool) {
        let reached = (0..LOOKS).any(|_| is_there(self.stats(name)));
        assert!(reached, "{name} stays at {}", self.stats(name));
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Service {
    /// None, with a word why, where the stub's source is not at hand.
    pub fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let stub = Stub::start()?;
        let sandbox = Sandbox::new()
            .with("OPENAI_BASE_URL", &format!("http://{}/v1", stub.address))
            .with("OPENAI_API_KEY", KEY)
            .with("LLM_MODEL", "stub-chat")
            // It never thinks, and what streams is looked at from the first answer on.
            .with("RAGSTONE_CHAT__HOLD_FIRST_ANSWER", "false")
            .with("RAGSTONE_JOBS__RETRY_BASE_SECONDS", "1")
            .with("RAGSTONE_JOBS__POLL_SECONDS", "1");
        let sandbox = settings
            .iter()
            .fold(sandbox, |sandbox, (name, value)| sandbox.with(name, value));
        let server = Server::start(&sandbox);
        Some(Self { server, stub, sandbox })
    }

    /// Kills the server, and starts it again over the same data with one more setting.
    pub fn killed_and_started(self, name: &str, value: &str) -> Self {
        drop(self.server);
        let sandbox = self.sandbox.with(name, value);
        Self {
            server: Server::start(&sandbox),
            stub: self.stub,
            sandbox,
        }
    }

    /// Asks the server to stop, as a service manager does.
    pub fn terminate(&self) {
        self.server.terminate();
    }

    /// Waits until the server ends; gives its exit code.
    pub fn exit_code(self) -> Option<i32> {
        self.server.exit_code()
    }

    /// Runs a command beside the server.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.sandbox.run(arguments)
    }

    /// Writes a file where commands run.
    pub fn write(&self, name: &str, text: &str) {
        self.sandbox.write(name, text);
    }

    /// One that searches by words alone, with a document in it.
    pub fn lexical(settings: &[(&str, &str)]) -> Option<Self> {
        let settings = [settings, &[("RAGSTONE_EMBED__PROVIDER", "none")]].concat();
        let service = Self::start(&settings)?;
        service.ingest("attic.md", "# Attic\n\nThe zebra lives in the attic.\n");
        Some(service)
    }

    pub fn call(&self, method: &str, path: &str) -> Request {
        request(&self.server.address, method, path)
    }

    pub fn address(&self) -> &str {
        &self.server.address
    }

    /// Bytes of the server that are in memory; none where the system does not tell.
    pub fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send()
    }

    pub fn post(&self, path: &str, body: &Value) -> Request {
        self.call("POST", path).json(body)
    }

    /// Asks for one JSON object, or for a stream.
    pub fn ask(&self, question: &str, stream: bool) -> Request {
        self.post("/api/v1/ask", &json!({"question": question, "stream": stream}))
    }

    /// Takes in a text, and waits for its end: the job.
    pub fn ingest(&self, uri: &str, text: &str) -> Value {
        let accepted = self.post("/api/v1/documents", &json!({"uri": uri, "text": text}));
        let accepted = accepted.send().ok(202);
        self.ended(accepted["job"]["id"].as_str().unwrap()).data
    }

    /// How a job ended.
    pub fn ended(&self, job: &str) -> Event {
        let events = self.call("GET", &format!("/api/v1/jobs/{job}/events")).open().events();
        let last = events.last().unwrap();
        assert_eq!(last.name, "done");
        last
    }
}

fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(build).as_deref();
    if program.is_none() {
        ragstone_testkit::skip_test("tests against the OpenAI stub", "put shared/ beside the repository");
    }
    program
}

fn build() -> Option<PathBuf> {
    if !Path::new(SOURCE).exists() {
        return None;
    }
    // The target folder of this build, so that it is built once.
    let target = Path::new(env!("CARGO_BIN_EXE_ragstone"))
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())?
        .join("openai_stub");
    let build = [
        "build",
        "--quiet",
        "--locked",
        "--manifest-path",
        SOURCE,
        "--target-dir",
    ];
    let built = Command::new(env!("CARGO")).args(build).arg(&target).status();
    assert!(built.unwrap().success(), "the stub builds");
    Some(target.join("debug/openai_stub"))
}
