//! Starts the program in a folder of its own, on free ports, without the network.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// Variables of the caller that the program needs: where programs and models are.
const KEPT: [&str; 5] = ["PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR", "RAGSTONE_MODEL_DIR"];

/// A working directory with nothing in it.
pub struct Sandbox {
    folder: tempfile::TempDir,
    /// Variables set on top.
    environment: Vec<(String, String)>,
}

impl Sandbox {
    /// One that searches by words alone: the same with and without a model on the machine.
    pub fn lexical() -> Self {
        Self::new().with("RAGSTONE_EMBED__PROVIDER", "none")
    }

    /// One that uses the model if the machine has it, and fetches nothing.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Self {
            folder,
            environment: Vec::new(),
        };
        sandbox.with("RAGSTONE_OFFLINE", "1")
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the working directory.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the program finds Python and the model as the tests do"
    )]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ragstone"));
        command.args(arguments).current_dir(self.path()).env_clear();
        let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        command.envs(kept).envs(self.environment.iter().cloned());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::new(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    pub fn run_with(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut command = self.command(arguments);
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        Ran::new(child.wait_with_output().unwrap())
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Stdout as JSON lines.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let lines = self.out.split('\n').filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// Stdout as one JSON object.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{}", self.out);
        lines.remove(0)
    }
}

/// `ragstone serve` on a free port; killed at the end of the test.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Server {
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::spawn(
            sandbox
                .command(&["serve", "--listen", "127.0.0.1:0"])
                .stdin(Stdio::null()),
        )
    }

    /// The server that this command starts.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("the server ended: {said}");
            };
            said.push_str(&line);
            if let Some((_, address)) = line.split_once("serving at http://") {
                break address.split_whitespace().next().unwrap().to_owned();
            }
        };
        // A full pipe would stop the server.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A GET over a plain socket: the whole answer as text.
    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        std::io::read_to_string(stream).unwrap()
    }

    /// Asks it to stop and waits; gives its exit code.
    pub fn stop(self) -> Option<i32> {
        interrupt(&self.child);
        self.exit_code()
    }

    /// Asks it to stop, as a service manager does.
    pub fn terminate(&self) {
        signal("TERM", &self.child);
    }

    /// Waits until it ends; gives its exit code.
    pub fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What Ctrl-C sends.
pub fn interrupt(child: &Child) {
    signal("INT", child);
}

fn signal(name: &str, child: &Child) {
    let sent = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{name} {}", child.id()))
        .status();
    assert!(sent.unwrap().success());
}
