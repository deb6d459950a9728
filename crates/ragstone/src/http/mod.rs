//! The HTTP interface: handlers over the library, the ingestor and the answerer.
//!
//! Invariant: a handler that reads or writes documents takes a principal, which only `auth` makes; every answer that
//! is not 2xx is a [`problem::ApiProblem`].

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
use ragstone_core::ingest::{IdGenerator, Ingestor, WallClockFn};
use ragstone_core::library::Library;
use ragstone_core::seam::{Catalogue, FeedbackStore, IdempotencyStore, UsageStore};
use ragstone_core::sync::SourceSyncer;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::telemetry::audit::AuditLog;

pub use address::TrustedProxies;
pub use auth::jwt::TokenIssuers;
pub use auth::{ACT_AS, AdminKey, ApiKeyring, OperatorChannel};
pub use feedback::FeedbackSettings;
pub use health::ReadinessReport;
pub use limits::LimitSettings;
pub use problem::FailureNote;
pub use routes::{build_router, build_worker_router, wrap_operator_routes};
pub use settings::HttpSettings;
pub use shutdown::ShutdownSignal;

/// Answers a question: the events end with exactly one `Done` or `Failed`, and dropping them ends the model's call.
pub type AnswerFn = Arc<dyn Fn(Scope, AskRequest, TraceId) -> BoxStream<'static, AnswerEvent> + Send + Sync>;

/// What the handlers stand on.
pub struct ApiServices {
    /// The only road to stored text.
    pub library: Arc<Library>,
    /// Takes documents in.
    pub ingestor: Arc<Ingestor>,
    /// The uploads that have all their bytes and get their rows, whether or not their senders still wait.
    pub upload_tasks: TaskTracker,
    /// The ledger of jobs.
    pub catalogue: Arc<dyn Catalogue>,
    /// The keys of callers.
    pub keys: Arc<ApiKeyring>,
    /// What callers spent of the chat model.
    pub usage: Arc<dyn UsageStore>,
    /// Syncs sources, and keeps them.
    pub syncer: Arc<SourceSyncer>,
    /// What uploads with a key were answered.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// Answers, and what was said of them.
    pub feedback: Arc<dyn FeedbackStore>,
    /// Who did what; none writes no log of it.
    pub audit: Option<AuditLog>,
    /// Answers questions.
    pub answerer: AnswerFn,
    /// Names the local operator.
    pub operator: fn() -> Principal,
    /// Rung when a job was queued.
    pub notify_workers: Arc<dyn Fn() + Send + Sync>,
    /// Tells that a job moved; progress is also looked up every `settings.job_poll`.
    pub job_events: broadcast::Sender<JobId>,
    /// Told to whoever is being answered when the process ends.
    pub shutdown: ShutdownSignal,
    /// How each dependency stands.
    pub readiness: Arc<dyn Fn() -> ReadinessReport + Send + Sync>,
    /// Tells the time.
    pub clock: WallClockFn,
    /// Gives a fresh random id.
    pub new_id: IdGenerator,
    /// Renders what was counted ([`metrics::install_recorder`]).
    pub metrics: metrics_exporter_prometheus::PrometheusHandle,
    /// Limits and defaults.
    pub settings: HttpSettings,
}

/// What a running router holds: the API, the memory of its streams, and how many requests still fit.
struct RouterState {
    api: Arc<ApiServices>,
    tickets: auth::TicketStore,
    replays: ask::ResumableStreams,
    /// Answers of a while ago.
    recent_answers: Arc<feedback::RecentAnswers>,
    /// What callers use at the moment.
    limits: limits::CallerLimits,
    in_flight_keys: documents::InFlightKeys,
    /// For each request that may be worked on at once.
    concurrency_limit: Arc<limits::shares::ConcurrencyLimit>,
}

impl Deref for RouterState {
    type Target = ApiServices;
    fn deref(&self) -> &ApiServices {
        &self.api
    }
}
