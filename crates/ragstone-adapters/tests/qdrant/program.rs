//! Qdrant itself: the server of `RAGSTONE_TEST_QDRANT_URL`, else processes of the program `RAGSTONE_TEST_QDRANT_BIN` or of
//! a `qdrant` on the PATH. Tests that need one say so and end where there is none.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ragstone_adapters::index::qdrant::{QdrantIndex, QdrantOptions};
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::index::spec;
use ragstone_testkit::{find_program, read_variable};

use crate::options;

/// A server: one that was named, or a process of ours.
pub struct Server {
    url: String,
    _node: Option<Node>,
}

impl Server {
    /// A server that answers, if there is one to be had for `what`.
    pub async fn find(what: &str) -> Option<Self> {
        let given = read_variable("RAGSTONE_TEST_QDRANT_URL");
        let node = match &given {
            Some(_) => None,
            None => program().map(Node::alone),
        };
        let Some(url) = given.or_else(|| node.as_ref().map(Node::url)) else {
            ragstone_testkit::skip_test(
                what,
                "set RAGSTONE_TEST_QDRANT_URL or RAGSTONE_TEST_QDRANT_BIN, or put qdrant on the PATH",
            );
            return None;
        };
        answers(&url).await;
        Some(Self { url, _node: node })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Three nodes of one cluster.
pub struct Cluster {
    nodes: Vec<Node>,
}

impl Cluster {
    /// A cluster that answers, if there is a program for `what`.
    pub async fn find(what: &str) -> Option<Self> {
        let Some(program) = program() else {
            ragstone_testkit::skip_test(what, "set RAGSTONE_TEST_QDRANT_BIN, or put qdrant on the PATH");
            return None;
        };
        let first = Node::of_cluster(program.clone(), None);
        let leader = first.uri();
        answers(&first.url()).await;
        let mut nodes = vec![first];
        for _ in 0..2 {
            let node = Node::of_cluster(program.clone(), Some(&leader));
            answers(&node.url()).await;
            nodes.push(node);
        }
        Some(Self { nodes })
    }

    /// A node.
    pub fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }
}

/// A process of ours, and its folder.
pub struct Node {
    program: PathBuf,
    process: Child,
    ports: [u16; 3],
    arguments: Vec<String>,
    folder: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Node {
    fn alone(program: PathBuf) -> Self {
        Self::start(program, [0; 3].map(|_| free_port()), Vec::new())
    }

    fn of_cluster(program: PathBuf, leader: Option<&str>) -> Self {
        let ports = [0; 3].map(|_| free_port());
        let mut arguments = vec!["--uri".to_owned(), format!("http://127.0.0.1:{}", ports[2])];
        if let Some(leader) = leader {
            arguments.extend(["--bootstrap".to_owned(), leader.to_owned()]);
        }
        Self::start(program, ports, arguments)
    }

    fn start(program: PathBuf, ports: [u16; 3], arguments: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            process: spawn(&program, ports, &arguments, &folder),
            program,
            ports,
            arguments,
            folder,
        }
    }

    /// Where it speaks gRPC.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[1])
    }

    fn uri(&self) -> String {
        self.arguments[1].clone()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again over what it had.
    pub fn restart(&mut self) {
        self.process = spawn(&self.program, self.ports, &self.arguments, &self.folder);
    }
}

fn spawn(program: &PathBuf, ports: [u16; 3], arguments: &[String], folder: &tempfile::TempDir) -> Child {
    let [http, grpc, peers] = ports.map(|port| port.to_string());
    Command::new(program)
        .args(arguments)
        .current_dir(folder.path())
        .env("QDRANT__SERVICE__HOST", "127.0.0.1")
        .env("QDRANT__SERVICE__HTTP_PORT", http)
        .env("QDRANT__SERVICE__GRPC_PORT", grpc)
        .env("QDRANT__CLUSTER__ENABLED", (!arguments.is_empty()).to_string())
        .env("QDRANT__CLUSTER__P2P__PORT", peers)
        .env("QDRANT__STORAGE__STORAGE_PATH", folder.path().join("storage"))
        .env("QDRANT__STORAGE__SNAPSHOTS_PATH", folder.path().join("snapshots"))
        .env("QDRANT__TELEMETRY_DISABLED", "true")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn program() -> Option<PathBuf> {
    let named = read_variable("RAGSTONE_TEST_QDRANT_BIN").map(PathBuf::from);
    named.or_else(|| find_program("qdrant"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server that was just started takes a moment until it listens, and one of a cluster until it may write; the retries
/// bridge it.
pub async fn answers(url: &str) {
    let patient = QdrantOptions {
        write_retries: 200,
        read_retries: 200,
        longest_wait: Duration::from_millis(200),
        ..options(url)
    };
    let index = QdrantIndex::new(patient).unwrap();
    let ready = index.prepare_index(&spec()).await;
    ready.unwrap();
}
