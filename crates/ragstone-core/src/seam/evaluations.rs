//! Runs of evaluation sets, kept with what they were made of, so that later ones can be compared with them.
//!
//! Invariant: a run is finished once, by whoever began it; what was recorded of an unfinished one survives a restart.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::CatalogueResult;
use crate::id::TenantId;

/// Longest name of a run, in bytes.
pub const MAX_RUN_NAME: usize = 100;

/// What is known of a run beside its outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunHead {
    /// Its name, unique within the tenant.
    pub name: String,
    /// What it was made of, as JSON that only `evaluate` reads.
    pub fingerprint: String,
    /// Whether all of its questions are recorded.
    pub finished: bool,
    /// When it was begun.
    pub started_at: OffsetDateTime,
}

/// What was recorded of one question, as JSON that only `evaluate` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedOutcome {
    /// The question's id.
    pub question: String,
    /// What came of it.
    pub outcome: String,
}

/// Runs by tenant and name.
#[async_trait]
pub trait EvaluationStore: Send + Sync {
    /// Begins a run, or goes on with an unfinished one of the same fingerprint; gives what that one recorded. Any other
    /// run of the name is forgotten.
    async fn begin_run(
        &self,
        tenant: &TenantId,
        name: &str,
        fingerprint: &str,
        now: OffsetDateTime,
    ) -> CatalogueResult<Vec<RecordedOutcome>>;

    /// Records what came of a question, in place of what was recorded before; false if there is no such unfinished run.
    async fn record_outcome(&self, tenant: &TenantId, name: &str, outcome: RecordedOutcome) -> CatalogueResult<bool>;

    /// Finishes a run; false if there is no such unfinished one.
    async fn finish_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<bool>;

    /// A run and its outcomes, by question.
    async fn get_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<Option<(RunHead, Vec<RecordedOutcome>)>>;

    /// The runs of a tenant, by name.
    async fn list_runs(&self, tenant: &TenantId) -> CatalogueResult<Vec<RunHead>>;
}
