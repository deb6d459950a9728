//! A doorbell that reaches other processes over a server: what all such doorbells have in common.
//!
//! Invariant: the server is met in the background alone. While it is away, rings are heard in this process, and the last
//! of them is passed on once it is back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::seam::Doorbell;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::HereDoorbell;

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(5);
/// Silence after which the server is asked whether it is there.
const PROBE_EACH: Duration = Duration::from_secs(15);
/// First and longest wait before a server that went away is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A way to the other processes.
#[async_trait]
pub(crate) trait Wire: Send + 'static {
    /// Connects, and listens from then on. An error says why not, without a secret.
    async fn open(&mut self) -> Result<(), String>;
    /// Waits for a ring of another process. May be dropped and called again.
    async fn heard(&mut self) -> Result<(), String>;
    /// Passes a ring on.
    async fn tell(&mut self) -> Result<(), String>;
    /// Asks the server whether it is there.
    async fn probe(&mut self) -> Result<(), String>;
}

/// A doorbell over a wire.
pub(crate) struct Line {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    here: HereDoorbell,
    out: Notify,
    trouble: Mutex<Option<String>>,
}

impl Line {
    /// Opens the wire in the background, and again whenever it breaks. `server` names it in what is told of trouble.
    pub fn start(server: &'static str, wire: impl Wire) -> Self {
        let shared = Arc::new(Shared {
            here: HereDoorbell::default(),
            out: Notify::new(),
            trouble: Mutex::new(Some(format!("{server}: not connected yet"))),
        });
        let task = tokio::spawn(keep(server, shared.clone(), wire));
        Self { shared, task }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Doorbell for Line {
    fn ring(&self) {
        self.shared.here.ring();
        self.shared.out.notify_one();
    }

    async fn wait(&self) {
        self.shared.here.wait().await;
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble().clone()
    }
}

impl Shared {
    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(server: &'static str, shared: Arc<Shared>, mut wire: impl Wire) {
    let mut wait = FIRST_WAIT;
    loop {
        let error = match in_time(wire.open()).await {
            Ok(()) => {
                wait = FIRST_WAIT;
                *shared.trouble() = None;
                // What was rung before went unheard.
                shared.here.ring();
                carry(&shared, &mut wire).await
            }
            Err(error) => error,
        };
        let trouble = format!("{server}: {error}");
        let known = shared.trouble().replace(trouble.clone());
        if known.as_ref() != Some(&trouble) {
            tracing::warn!("the doorbell reaches this process alone: {trouble}");
        }
        // Not all processes at once.
        sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Carries rings both ways until the wire breaks; says how it did.
async fn carry(shared: &Shared, wire: &mut impl Wire) -> String {
    loop {
        let done = tokio::select! {
            heard = wire.heard() => heard.map(|()| shared.here.ring()),
            () = shared.out.notified() => in_time(wire.tell()).await.inspect_err(|_| shared.out.notify_one()),
            () = sleep(PROBE_EACH) => in_time(wire.probe()).await,
        };
        if let Err(error) = done {
            return error;
        }
    }
}

async fn in_time(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let late = |_| Err(format!("no answer within {PATIENCE:?}"));
    timeout(PATIENCE, work).await.unwrap_or_else(late)
}
