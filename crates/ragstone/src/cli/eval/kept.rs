//! Reads saved runs and compares with them.

use std::collections::BTreeMap;

use axum::http::Method;
use ragstone_core::evaluate::{MetricScores, QuestionOutcome, RunFingerprint, compare_runs};
use ragstone_core::metric::ragas::RagasMetric;
use serde_json::{Value, json};

use super::report::EvalReport;
use crate::cli::UsageError;
use crate::cli::client::{ApiClient, ApiClientError};

/// Outcomes by the id of their question.
pub type OutcomesByQuestion = BTreeMap<String, QuestionOutcome>;

/// A saved run that has finished.
pub struct SavedRun {
    /// Name of the run.
    pub name: String,
    /// Fingerprint of what the run was made with.
    pub fingerprint: RunFingerprint,
    /// Outcomes of the run's questions.
    pub outcomes: OutcomesByQuestion,
}

/// Sends a request to the operator's evaluation routes.
pub async fn post_evaluation(door: &ApiClient, what: &str, body: Value) -> anyhow::Result<Value> {
    let path = format!("/operator/v1/evaluations/{what}");
    door.request_json(Method::POST, &path, Some(&body)).await
}

impl SavedRun {
    /// Reads a run; a usage error if there is none of that name or it has not finished.
    pub async fn fetch_run(door: &ApiClient, name: &str) -> anyhow::Result<Self> {
        let run = match post_evaluation(door, "read", json!({ "name": name })).await {
            Ok(run) => run,
            Err(error) => {
                let refusal = error.downcast_ref::<ApiClientError>();
                return Err(match refusal.is_some_and(|refusal| refusal.code == "not_found") {
                    true => UsageError(format!(
                        "there is no run {name:?}; hint: `ragstone eval runs` lists them"
                    ))
                    .into(),
                    false => error,
                });
            }
        };
        if run["finished"] != json!(true) {
            return Err(UsageError(format!("run {name:?} is not finished")).into());
        }
        Ok(Self {
            name: name.to_owned(),
            fingerprint: serde_json::from_value(run["fingerprint"].clone())?,
            outcomes: serde_json::from_value(run["outcomes"].clone())?,
        })
    }

    /// Lists what differs besides corpus and set; a usage error if one of those differs.
    pub fn check_comparable(&self, fingerprint: &RunFingerprint) -> anyhow::Result<Vec<&'static str>> {
        self.fingerprint.changed_parts(fingerprint).map_err(|error| {
            let detail = format!("incomparable: {error} than that of run {:?}", self.name);
            UsageError(format!("{detail}; hint: make a new baseline with --save")).into()
        })
    }

    /// Adds to a report how its metrics changed since this run. Scores of a different judge are not compared.
    pub fn add_comparison(&self, report: &mut EvalReport, outcomes: &OutcomesByQuestion, changed: Vec<&'static str>) {
        let mut old = collect_scores(&self.outcomes);
        if changed.contains(&"judge") {
            old.values_mut()
                .for_each(|scores| scores.retain(|name, _| RagasMetric::from_name(name).is_none()));
        }
        report.compared = Some(compare_runs(&old, &collect_scores(outcomes)));
        report.baseline = Some(self.name.clone());
        report.changed = Some(changed);
    }
}

fn collect_scores(outcomes: &OutcomesByQuestion) -> BTreeMap<String, MetricScores> {
    let scores = |(id, outcome): (&String, &QuestionOutcome)| (id.clone(), outcome.scores.clone());
    outcomes.iter().map(scores).collect()
}
