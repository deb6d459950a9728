//! `GET /metrics`: metrics in the text format of Prometheus.
//!
//! Invariant: no label contains text of a tenant: routes are templates, states and outcomes are fixed words.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use ragstone_core::seam::feedback::ThumbVote;

use super::RouterState;
use super::auth::RequireAdminIdentity;
use super::problem::{ApiProblem, Code};

pub(super) const PROBLEMS: &[Code] = &[Code::CatalogueUnavailable];

const REQUESTS: &str = "ragstone_http_requests_total";
const SECONDS: &str = "ragstone_http_request_seconds";
const ASKS: &str = "ragstone_asks_total";
const FEEDBACK: &str = "ragstone_feedback_total";
const JOBS: &str = "ragstone_jobs";
const CHUNKS: &str = "ragstone_chunks";
const LEAKS: &str = "ragstone_leaked_hits_total";
const STALE: &str = "ragstone_stale_hits_total";
const CACHE_HITS: &str = "ragstone_embedding_cache_hits_total";
const CACHE_MISSES: &str = "ragstone_embedding_cache_misses_total";
const CACHE_ERRORS: &str = "ragstone_embedding_cache_errors_total";
const FAILED_AUTHS: &str = "ragstone_wrong_proofs_total";
const AUDIT_LOST: &str = "ragstone_audit_lines_lost_total";

/// Upper bounds of the histogram of durations, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The recorder of the process, installed on the first call; later calls return the same handle.
pub fn install_recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Full(SECONDS.into()), &BUCKETS)
                .expect("there are buckets")
                .build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another recorder is installed: /metrics will be empty");
            }
            describe_metrics();
            handle
        })
        .clone()
}

fn describe_metrics() {
    describe_counter!(REQUESTS, "Requests answered, by method, route and status");
    describe_histogram!(SECONDS, "Seconds to the head of an answer, by method and route");
    describe_counter!(
        ASKS,
        "Questions, by how they ended: answered, unanswered, failed, abandoned"
    );
    describe_counter!(FEEDBACK, "What was said of answers: up, down, words");
    describe_gauge!(JOBS, "Jobs of the operator's tenant by state");
    describe_gauge!(CHUNKS, "Published chunks of the operator's tenant");
    describe_counter!(
        LEAKS,
        "Hits an index returned although the ACL it knew refuses the caller: must be 0"
    );
    describe_counter!(STALE, "Hits of replaced or deleted versions, or of an older ACL");
    describe_counter!(CACHE_HITS, "Chunks whose embedding was held");
    describe_counter!(
        CACHE_MISSES,
        "Chunks that were looked for among the held embeddings and embedded"
    );
    describe_counter!(CACHE_ERRORS, "Calls of the embedding cache that failed");
    describe_counter!(
        FAILED_AUTHS,
        "Keys, tokens and tickets that opened nothing, by what their senders were told"
    );
    describe_counter!(
        AUDIT_LOST,
        "Lines of the audit log that could not be written: must be 0"
    );
}

/// Counts a request and its duration; `route` is the route's template.
pub(super) fn count_request(method: &str, route: &str, status: u16, elapsed: Duration) {
    let (method, route) = (method.to_owned(), route.to_owned());
    histogram!(SECONDS, "method" => method.clone(), "route" => route.clone()).record(elapsed.as_secs_f64());
    counter!(REQUESTS, "method" => method, "route" => route, "status" => status.to_string()).increment(1);
}

/// Counts a question by its outcome.
pub(super) fn count_question(outcome: &'static str) {
    counter!(ASKS, "outcome" => outcome).increment(1);
}

/// Counts feedback by its rating; without a rating as `words`.
pub(super) fn count_feedback(thumb: Option<ThumbVote>) {
    let rating = match thumb {
        Some(ThumbVote::Up) => "up",
        Some(ThumbVote::Down) => "down",
        None => "words",
    };
    counter!(FEEDBACK, "rating" => rating).increment(1);
}

/// Counts a failed authentication by the code that its sender got.
pub(super) fn count_failed_auth(code: Code) {
    counter!(FAILED_AUTHS, "code" => code.as_str()).increment(1);
}

/// Returns the metrics in the text format of Prometheus.
///
/// For administrators of the operator's tenant.
#[utoipa::path(get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "Prometheus text format", body = String, content_type = "text/plain")))]
pub(super) async fn get_metrics(
    State(app): State<Arc<RouterState>>,
    RequireAdminIdentity(identity): RequireAdminIdentity,
) -> Result<impl IntoResponse, ApiProblem> {
    // Some metrics are about the operator's tenant, which administrators of other tenants must not see.
    if !identity.manages_all_tenants && identity.principal.tenant() != (app.operator)().tenant() {
        return Err(ApiProblem::new(Code::Forbidden, "this is for the operator's tenant"));
    }
    counter!(LEAKS).absolute(app.library.access_alarms().leaked_hits());
    counter!(STALE).absolute(app.library.access_alarms().stale_hits());
    let cached = app.ingestor.documents().embedding_cache_stats();
    counter!(CACHE_HITS).absolute(cached.hits());
    counter!(CACHE_MISSES).absolute(cached.misses());
    counter!(CACHE_ERRORS).absolute(cached.errors());
    if let Some(log) = &app.audit {
        counter!(AUDIT_LOST).absolute(log.lost_lines());
    }
    update_gauges(&app).await?;
    let head = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((head, app.metrics.render()))
}

async fn update_gauges(app: &RouterState) -> Result<(), ApiProblem> {
    let scope = (app.operator)().scope();
    let statistics = app.catalogue.term_statistics(scope.tenant(), &[]).await?;
    gauge!(CHUNKS).set(statistics.documents as f64);
    let counts = app.catalogue.count_jobs(scope.tenant()).await?;
    for (word, jobs) in [
        ("queued", counts.queued),
        ("running", counts.running),
        ("succeeded", counts.succeeded),
        ("failed", counts.failed),
        ("cancelled", counts.cancelled),
    ] {
        gauge!(JOBS, "state" => word).set(jobs as f64);
    }
    Ok(())
}
