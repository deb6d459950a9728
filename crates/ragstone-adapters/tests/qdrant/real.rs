//! The contract against Qdrant itself: the server of `RAGSTONE_TEST_QDRANT_URL`, else a `qdrant` of the PATH.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ragstone_adapters::index::qdrant::{QdrantIndex, QdrantOptions};
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::index::spec;
use ragstone_core::seam::contract::index_contract;

use crate::{index, options};

/// A process of ours, and its folder.
struct Qdrant {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Qdrant {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment where a server is"
)]
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("qdrant"))
        .find(|program| program.is_file())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn start(program: PathBuf) -> Qdrant {
    let folder = tempfile::tempdir().unwrap();
    let (http, grpc) = (free_port(), free_port());
    let process = Command::new(program)
        .current_dir(folder.path())
        .env("QDRANT__SERVICE__HOST", "127.0.0.1")
        .env("QDRANT__SERVICE__HTTP_PORT", http.to_string())
        .env("QDRANT__SERVICE__GRPC_PORT", grpc.to_string())
        .env("QDRANT__STORAGE__STORAGE_PATH", folder.path().join("storage"))
        .env("QDRANT__STORAGE__SNAPSHOTS_PATH", folder.path().join("snapshots"))
        .env("QDRANT__TELEMETRY_DISABLED", "true")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Qdrant {
        process,
        url: format!("http://127.0.0.1:{grpc}"),
        _folder: folder,
    }
}

/// Where a server is, if one was named.
#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment where a server is"
)]
fn given() -> Option<String> {
    std::env::var("RAGSTONE_TEST_QDRANT_URL").ok()
}

#[tokio::test]
async fn qdrant_keeps_the_contract() {
    let given = given();
    let started = match &given {
        Some(_) => None,
        None => program().map(start),
    };
    let Some(url) = given.or_else(|| started.as_ref().map(|qdrant| qdrant.url.clone())) else {
        eprintln!(
            "skipped: the contract against Qdrant, set RAGSTONE_TEST_QDRANT_URL or put qdrant on the PATH"
        );
        return;
    };
    wait_for(&url).await;
    index_contract(|| async { Arc::new(index(&url)) as Arc<dyn VectorIndex> }).await;
}

/// A server that was just started takes a moment until it listens; the retries bridge it.
async fn wait_for(url: &str) {
    let patient = QdrantOptions {
        write_retries: 100,
        read_retries: 100,
        longest_wait: Duration::from_millis(200),
        ..options(url)
    };
    let index = QdrantIndex::new(patient).unwrap();
    let ready = index.ensure(&spec()).await;
    ready.unwrap();
}
