//! The common part of notifiers that reach other processes over a server.
//!
//! Invariant: the server is contacted only in the background. While it is away, notifications still reach this
//! process, and the last of them is passed on once it is back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::seam::Notifier;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::LocalNotifier;

/// Limit for each operation on the server.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle time after which the connection is probed.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// First and longest wait before a reconnect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A connection to the other processes.
#[async_trait]
pub(crate) trait NotifyTransport: Send + 'static {
    /// Connects and subscribes. An error says why it failed, without a secret.
    async fn open_connection(&mut self) -> Result<(), String>;
    /// Waits for a notification of another process. Safe to cancel and call again.
    async fn recv(&mut self) -> Result<(), String>;
    /// Sends a notification to the other processes.
    async fn send_notification(&mut self) -> Result<(), String>;
    /// Checks that the server still answers.
    async fn probe_server(&mut self) -> Result<(), String>;
}

/// A notifier over a transport.
pub(crate) struct RemoteNotifier {
    shared: Arc<RemoteNotifierState>,
    task: JoinHandle<()>,
}

struct RemoteNotifierState {
    local: LocalNotifier,
    outgoing: Notify,
    connection_error: Mutex<Option<String>>,
}

impl RemoteNotifier {
    /// Opens the transport in the background, and again whenever it breaks. `server` names it in connection errors.
    pub fn start(server: &'static str, wire: impl NotifyTransport) -> Self {
        let shared = Arc::new(RemoteNotifierState {
            local: LocalNotifier::default(),
            outgoing: Notify::new(),
            connection_error: Mutex::new(Some(format!("{server}: not connected yet"))),
        });
        let task = tokio::spawn(keep_connected(server, shared.clone(), wire));
        Self { shared, task }
    }
}

impl Drop for RemoteNotifier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Notifier for RemoteNotifier {
    fn notify_workers(&self) {
        self.shared.local.notify_workers();
        self.shared.outgoing.notify_one();
    }

    async fn wait_for_notification(&self) {
        self.shared.local.wait_for_notification().await;
    }

    fn connection_error(&self) -> Option<String> {
        self.shared.lock_connection_error().clone()
    }
}

impl RemoteNotifierState {
    fn lock_connection_error(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.connection_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep_connected(server: &'static str, shared: Arc<RemoteNotifierState>, mut wire: impl NotifyTransport) {
    let mut wait = FIRST_WAIT;
    loop {
        let error = match with_timeout(wire.open_connection()).await {
            Ok(()) => {
                wait = FIRST_WAIT;
                *shared.lock_connection_error() = None;
                // Notifications sent while disconnected were missed, so wake a worker now.
                shared.local.notify_workers();
                relay_notifications(&shared, &mut wire).await
            }
            Err(error) => error,
        };
        let trouble = format!("{server}: {error}");
        let known = shared.lock_connection_error().replace(trouble.clone());
        if known.as_ref() != Some(&trouble) {
            tracing::warn!("the doorbell reaches this process alone: {trouble}");
        }
        // Jitter, so that not all processes reconnect at once.
        sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Relays notifications both ways until the transport breaks; returns its error.
async fn relay_notifications(shared: &RemoteNotifierState, wire: &mut impl NotifyTransport) -> String {
    loop {
        let done = tokio::select! {
            heard = wire.recv() => heard.map(|()| shared.local.notify_workers()),
            () = shared.outgoing.notified() => with_timeout(wire.send_notification()).await.inspect_err(|_| shared.outgoing.notify_one()),
            () = sleep(PROBE_INTERVAL) => with_timeout(wire.probe_server()).await,
        };
        if let Err(error) = done {
            return error;
        }
    }
}

async fn with_timeout(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let late = |_| Err(format!("no answer within {SERVER_TIMEOUT:?}"));
    timeout(SERVER_TIMEOUT, work).await.unwrap_or_else(late)
}
