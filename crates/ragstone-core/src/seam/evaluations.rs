//! Stored evaluation runs with their fingerprints, so that later runs can be compared with them.
//!
//! Invariant: a run is finished once, by the process that began it; recorded outcomes of an unfinished run survive a
//! restart.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::CatalogueResult;
use crate::id::TenantId;

/// Longest name of a run, in bytes.
pub const MAX_RUN_NAME: usize = 100;

/// A run without its outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunHead {
    /// Name, unique within the tenant.
    pub name: String,
    /// Fingerprint of corpus, set and settings, as JSON that only `evaluate` reads.
    pub fingerprint: String,
    /// Whether all questions are recorded.
    pub finished: bool,
    /// Time at which the run began.
    pub started_at: OffsetDateTime,
}

/// Recorded outcome of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedOutcome {
    /// Id of the question.
    pub question: String,
    /// The outcome, as JSON that only `evaluate` reads.
    pub outcome: String,
}

/// Stores runs by tenant and name.
#[async_trait]
pub trait EvaluationStore: Send + Sync {
    /// Begins a run, or resumes an unfinished one with the same fingerprint and returns its outcomes. Any other run of
    /// this name is deleted.
    async fn begin_run(
        &self,
        tenant: &TenantId,
        name: &str,
        fingerprint: &str,
        now: OffsetDateTime,
    ) -> CatalogueResult<Vec<RecordedOutcome>>;

    /// Records the outcome of a question and replaces an earlier one; false if there is no such unfinished run.
    async fn record_outcome(&self, tenant: &TenantId, name: &str, outcome: RecordedOutcome) -> CatalogueResult<bool>;

    /// Finishes a run; false if there is no such unfinished run.
    async fn finish_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<bool>;

    /// A run with its outcomes, ordered by question.
    async fn get_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<Option<(RunHead, Vec<RecordedOutcome>)>>;

    /// The runs of a tenant, ordered by name.
    async fn list_runs(&self, tenant: &TenantId) -> CatalogueResult<Vec<RunHead>>;
}
