//! The HTTP interface: handlers over the library, the ingestor and the answerer.
//!
//! Invariant: a handler that reads or writes documents takes a principal, which only `auth` makes; every answer that
//! is not 2xx is a [`problem::Problem`].

#[cfg(test)]
mod access_matrix;
mod address;
mod ask;
mod audit;
pub mod auth;
mod body;
mod documents;
mod explain;
mod extract;
#[cfg(test)]
mod failure_tests;
mod feedback;
mod health;
#[cfg(test)]
mod hostile_tests;
mod jobs;
mod keys;
mod limits;
mod list;
pub mod metrics;
mod middleware;
mod openapi;
pub mod problem;
mod routes;
mod search;
pub mod server;
mod settings;
mod shutdown;
mod sources;
mod sse;
mod stream_tickets;
#[cfg(test)]
mod test_app;
mod unknown;
#[cfg(test)]
mod unknown_tests;
#[cfg(test)]
mod walls_tests;

use std::ops::Deref;
use std::sync::Arc;

use futures::stream::BoxStream;
use ragstone_core::access::{Principal, Scope};
use ragstone_core::ask::{AnswerEvent, AskRequest};
use ragstone_core::id::{JobId, TraceId};
use ragstone_core::ingest::{Clock, Ingestor, NewId};
use ragstone_core::library::Library;
use ragstone_core::seam::{Catalogue, FeedbackStore, IdempotencyStore, UsageStore};
use ragstone_core::sync::Syncer;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::telemetry::audit::AuditLog;

pub use address::TrustedProxies;
pub use auth::jwt::Issuers;
pub use auth::{ACT_AS, AdminKey, Keyring, OperatorDoor};
pub use feedback::FeedbackSettings;
pub use health::Readiness;
pub use limits::LimitSettings;
pub use problem::FailureNote;
pub use routes::{operators, router, worker_router};
pub use settings::HttpSettings;
pub use shutdown::Shutdown;

/// Answers a question: the events end with exactly one `Done` or `Failed`, and dropping them ends the model's call.
pub type Answerer = Arc<dyn Fn(Scope, AskRequest, TraceId) -> BoxStream<'static, AnswerEvent> + Send + Sync>;

/// What the handlers stand on.
pub struct Api {
    /// The only road to stored text.
    pub library: Arc<Library>,
    /// Takes documents in.
    pub ingestor: Arc<Ingestor>,
    /// The uploads that have all their bytes and get their rows, whether or not their senders still wait.
    pub arrivals: TaskTracker,
    /// The ledger of jobs.
    pub catalogue: Arc<dyn Catalogue>,
    /// The keys of callers.
    pub keys: Arc<Keyring>,
    /// What callers spent of the chat model.
    pub usage: Arc<dyn UsageStore>,
    /// Syncs sources, and keeps them.
    pub syncer: Arc<Syncer>,
    /// What uploads with a key were answered.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// Answers, and what was said of them.
    pub feedback: Arc<dyn FeedbackStore>,
    /// Who did what; none writes no log of it.
    pub audit: Option<AuditLog>,
    /// Answers questions.
    pub answerer: Answerer,
    /// Names the local operator.
    pub operator: fn() -> Principal,
    /// Rung when a job was queued.
    pub doorbell: Arc<dyn Fn() + Send + Sync>,
    /// Tells that a job moved; progress is also looked up every `settings.job_poll`.
    pub job_events: broadcast::Sender<JobId>,
    /// Told to whoever is being answered when the process ends.
    pub shutdown: Shutdown,
    /// How each dependency stands.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Tells the time.
    pub clock: Clock,
    /// Gives a fresh random id.
    pub new_id: NewId,
    /// Renders what was counted ([`metrics::recorder`]).
    pub metrics: metrics_exporter_prometheus::PrometheusHandle,
    /// Limits and defaults.
    pub settings: HttpSettings,
}

/// What a running router holds: the API, the memory of its streams, and how many requests still fit.
struct App {
    api: Arc<Api>,
    tickets: auth::Tickets,
    replays: ask::Replays,
    /// Answers of a while ago.
    asked: Arc<feedback::Asked>,
    /// What callers use at the moment.
    limits: limits::Limits,
    keys_at_work: documents::KeysAtWork,
    /// For each request that may be worked on at once.
    places: Arc<limits::shares::Shares>,
}

impl Deref for App {
    type Target = Api;
    fn deref(&self) -> &Api {
        &self.api
    }
}
