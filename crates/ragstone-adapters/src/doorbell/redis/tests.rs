//! The notifier over a real Redis server of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use ragstone_core::seam::contract::doorbell_contract;
use tempfile::TempDir;

use super::*;

/// A server that listens at a socket in its folder; a shell ends it when the pipe from here closes, in whatever way.
struct Server {
    folder: TempDir,
    shell: Option<Child>,
    channels: AtomicUsize,
}

impl Server {
    /// None, said aloud, where there is no Redis.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self {
            folder,
            shell: None,
            channels: AtomicUsize::new(0),
        };
        let Some(program) = ragstone_testkit::find_program("redis-server") else {
            ragstone_testkit::skip_installed_test("notifications over Redis", "apt-get install redis-server");
            return None;
        };
        server.run(&program);
        Some(server)
    }

    fn run(&mut self, program: &Path) {
        let script = "\"$0\" --port 0 --unixsocket \"$1/socket\" --dir \"$1\" --save '' >>\"$1/log\" 2>&1 &
            server=$!; read -r _; kill -KILL $server; wait $server";
        let shell = Command::new("/bin/sh")
            .args(["-c", script])
            .args([program, self.folder.path()])
            .stdin(Stdio::piped())
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

    fn url(&self) -> String {
        format!("redis+unix://{}/socket", self.folder.path().display())
    }

    /// Two handles to a channel of their own, both listening.
    async fn pair(&self) -> (Arc<dyn Notifier>, Arc<dyn Notifier>) {
        let channel = format!("test-{}", self.channels.fetch_add(1, Ordering::Relaxed));
        let bell = || RedisNotifier::new(&self.url(), channel.as_str()).unwrap();
        let (one, other) = (bell(), bell());
        one.wait_for_notification().await;
        other.wait_for_notification().await;
        (Arc::new(one), Arc::new(other))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn until_trouble(bell: &Arc<dyn Notifier>, there: bool) {
    while bell.connection_error().is_some() != there {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_contract_is_kept() {
    let Some(server) = Server::start() else { return };
    doorbell_contract(|| server.pair()).await;
}

#[tokio::test]
async fn a_redis_that_is_away_costs_others_a_ring_and_nobody_an_error() {
    let Some(mut server) = Server::start() else { return };
    let (one, other) = server.pair().await;
    server.stop();
    until_trouble(&one, true).await;
    until_trouble(&other, true).await;
    assert!(
        one.connection_error().unwrap().starts_with("redis: "),
        "{:?}",
        one.connection_error()
    );
    one.notify_workers();
    one.wait_for_notification().await;
    assert!(other.wait_for_notification().now_or_never().is_none());
    let program = ragstone_testkit::find_program("redis-server").unwrap();
    server.run(&program);
    // Both look when they listen again, whatever they missed.
    one.wait_for_notification().await;
    other.wait_for_notification().await;
    until_trouble(&one, false).await;
    until_trouble(&other, false).await;
    other.notify_workers();
    one.wait_for_notification().await;
}

#[tokio::test]
async fn a_silent_server_is_asked() {
    let Some(server) = Server::start() else { return };
    let mut wire = RedisNotifyTransport {
        client: Client::open(server.url()).unwrap(),
        channel: "test".into(),
        sender_id: "me".into(),
        connection: None,
    };
    assert!(wire.probe_server().await.is_err());
    while NotifyTransport::open_connection(&mut wire).await.is_err() {
        tokio::task::yield_now().await;
    }
    wire.probe_server().await.unwrap();
    drop(server);
    assert!(wire.probe_server().await.is_err());
}

#[tokio::test]
async fn a_password_is_not_shown() {
    for bad in ["redis://me:hunter2@host:port", "hunter2", "http://hunter2"] {
        let refused = RedisNotifier::new(bad, "test").unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
    let bell = RedisNotifier::new("redis://:hunter2@127.0.0.1:1/", "test").unwrap();
    let trouble = |bell: &RedisNotifier| bell.connection_error().unwrap();
    while trouble(&bell).contains("not connected yet") {
        tokio::task::yield_now().await;
    }
    assert!(!format!("{} {bell:?}", trouble(&bell)).contains("hunter2"));
}
