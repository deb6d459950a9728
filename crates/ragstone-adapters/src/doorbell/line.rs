//! A doorbell that reaches other processes over a server: what all such doorbells have in common.
//!
//! Invariant: the server is met in the background alone. While it is away, rings are heard in this process, and the last
//! of them is passed on once it is back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::seam::Notifier;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::LocalNotifier;

/// How long the server may take for anything.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which the server is asked whether it is there.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// First and longest wait before a server that went away is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A way to the other processes.
#[async_trait]
pub(crate) trait NotifyTransport: Send + 'static {
    /// Connects, and listens from then on. An error says why not, without a secret.
    async fn open_connection(&mut self) -> Result<(), String>;
    /// Waits for a ring of another process. May be dropped and called again.
    async fn recv(&mut self) -> Result<(), String>;
    /// Passes a ring on.
    async fn send_notification(&mut self) -> Result<(), String>;
    /// Asks the server whether it is there.
    async fn probe_server(&mut self) -> Result<(), String>;
}

/// A doorbell over a wire.
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
    /// Opens the wire in the background, and again whenever it breaks. `server` names it in what is told of trouble.
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
                // What was rung before went unheard.
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
        // Not all processes at once.
        sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Carries rings both ways until the wire breaks; says how it did.
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
