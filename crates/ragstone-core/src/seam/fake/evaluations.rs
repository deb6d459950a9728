//! Evaluation runs in a map.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::lock;
use crate::id::TenantId;
use crate::seam::catalogue::CatalogueResult;
use crate::seam::evaluations::{EvaluationStore, RecordedOutcome, RunHead};

type Run = (RunHead, BTreeMap<String, String>);

/// Evaluation runs in memory.
#[derive(Debug, Default)]
pub struct MemoryEvaluations(Mutex<BTreeMap<(TenantId, String), Run>>);

fn listed(outcomes: &BTreeMap<String, String>) -> Vec<RecordedOutcome> {
    let outcome = |(question, outcome): (&String, &String)| RecordedOutcome {
        question: question.clone(),
        outcome: outcome.clone(),
    };
    outcomes.iter().map(outcome).collect()
}

#[async_trait]
impl EvaluationStore for MemoryEvaluations {
    async fn begin_run(
        &self,
        tenant: &TenantId,
        name: &str,
        fingerprint: &str,
        now: OffsetDateTime,
    ) -> CatalogueResult<Vec<RecordedOutcome>> {
        let key = (tenant.clone(), name.to_owned());
        let mut runs = lock(&self.0);
        if let Some((head, outcomes)) = runs.get(&key)
            && !head.finished
            && head.fingerprint == fingerprint
        {
            return Ok(listed(outcomes));
        }
        let head = RunHead {
            name: name.to_owned(),
            fingerprint: fingerprint.to_owned(),
            finished: false,
            started_at: now,
        };
        runs.insert(key, (head, BTreeMap::new()));
        Ok(Vec::new())
    }

    async fn record_outcome(&self, tenant: &TenantId, name: &str, outcome: RecordedOutcome) -> CatalogueResult<bool> {
        let mut runs = lock(&self.0);
        let run = runs.get_mut(&(tenant.clone(), name.to_owned()));
        let Some((_, outcomes)) = run.filter(|(head, _)| !head.finished) else {
            return Ok(false);
        };
        outcomes.insert(outcome.question, outcome.outcome);
        Ok(true)
    }

    async fn finish_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<bool> {
        let mut runs = lock(&self.0);
        let run = runs.get_mut(&(tenant.clone(), name.to_owned()));
        let unfinished = run.filter(|(head, _)| !head.finished);
        Ok(unfinished.map(|(head, _)| head.finished = true).is_some())
    }

    async fn get_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<Option<(RunHead, Vec<RecordedOutcome>)>> {
        let runs = lock(&self.0);
        let run = runs.get(&(tenant.clone(), name.to_owned()));
        Ok(run.map(|(head, outcomes)| (head.clone(), listed(outcomes))))
    }

    async fn list_runs(&self, tenant: &TenantId) -> CatalogueResult<Vec<RunHead>> {
        let runs = lock(&self.0);
        let own = runs.iter().filter(|((of, _), _)| of == tenant);
        Ok(own.map(|(_, (head, _))| head.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::contract::evaluation_contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        evaluation_contract(|| async { Arc::new(MemoryEvaluations::default()) as Arc<dyn EvaluationStore> }).await;
    }
}
