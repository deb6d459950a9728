//! The HTTP API: router, middleware and one handler per endpoint, over the library, the ingestor and the answerer.
//!
//! Invariant: a handler that reads or writes documents takes a principal, which only `auth` makes; every response that
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

/// Answers a question. The stream ends with exactly one `Done` or `Failed`; dropping it cancels the model's call.
pub type AnswerFn = Arc<dyn Fn(Scope, AskRequest, TraceId) -> BoxStream<'static, AnswerEvent> + Send + Sync>;

/// The services that the handlers use.
pub struct ApiServices {
    /// Search and access to stored text; there is no other access to stored text.
    pub library: Arc<Library>,
    /// Accepts uploads, and changes and deletes documents.
    pub ingestor: Arc<Ingestor>,
    /// Tracks uploads whose bytes are complete while their catalogue rows are written; they finish even if the client
    /// has disconnected.
    pub upload_tasks: TaskTracker,
    /// Documents and the job queue.
    pub catalogue: Arc<dyn Catalogue>,
    /// The API keys of callers.
    pub keys: Arc<ApiKeyring>,
    /// Chat model tokens that callers used, per day.
    pub usage: Arc<dyn UsageStore>,
    /// Syncs sources, and stores them.
    pub syncer: Arc<SourceSyncer>,
    /// Stored responses to uploads that had an `Idempotency-Key`.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// Kept answers and the feedback on them.
    pub feedback: Arc<dyn FeedbackStore>,
    /// The audit log; `None` writes none.
    pub audit: Option<AuditLog>,
    /// Answers questions; see [`AnswerFn`].
    pub answerer: AnswerFn,
    /// Makes the principal of the local operator.
    pub operator: fn() -> Principal,
    /// Wakes the workers after a job was queued.
    pub notify_workers: Arc<dyn Fn() + Send + Sync>,
    /// Sends the id of each job that changed. A receiver also polls the job every `settings.job_poll`, because events
    /// may be lost.
    pub job_events: broadcast::Sender<JobId>,
    /// Signals the two steps of a shutdown to everything that is in progress.
    pub shutdown: ShutdownSignal,
    /// Returns the state of each dependency.
    pub readiness: Arc<dyn Fn() -> ReadinessReport + Send + Sync>,
    /// The wall clock, in UTC.
    pub clock: WallClockFn,
    /// Returns a fresh random UUID.
    pub new_id: IdGenerator,
    /// Renders the collected metrics ([`metrics::install_recorder`]).
    pub metrics: metrics_exporter_prometheus::PrometheusHandle,
    /// Limits and defaults of the HTTP API.
    pub settings: HttpSettings,
}

/// State of a running router: the services, and what it keeps in memory only.
struct RouterState {
    api: Arc<ApiServices>,
    tickets: auth::TicketStore,
    replays: ask::ResumableStreams,
    /// Recent answers, which can still be rated.
    recent_answers: Arc<feedback::RecentAnswers>,
    /// Current use of rates and streams by callers.
    limits: limits::CallerLimits,
    in_flight_keys: documents::InFlightKeys,
    /// Slots for the requests in progress at once.
    concurrency_limit: Arc<limits::shares::ConcurrencyLimit>,
}

impl Deref for RouterState {
    type Target = ApiServices;
    fn deref(&self) -> &ApiServices {
        &self.api
    }
}
