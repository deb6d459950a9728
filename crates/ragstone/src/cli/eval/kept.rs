//! Runs that are kept, read again.

use std::collections::BTreeMap;

use axum::http::Method;
use ragstone_core::evaluate::{MetricScores, QuestionOutcome, RunFingerprint, compare_runs};
use ragstone_core::metric::ragas::RagasMetric;
use serde_json::{Value, json};

use super::report::EvalReport;
use crate::cli::UsageError;
use crate::cli::client::{ApiClient, ApiClientError};

/// Outcomes by question.
pub type OutcomesByQuestion = BTreeMap<String, QuestionOutcome>;

/// A run that has ended.
pub struct SavedRun {
    /// Its name.
    pub name: String,
    /// What it was made of.
    pub fingerprint: RunFingerprint,
    /// What came of it.
    pub outcomes: OutcomesByQuestion,
}

/// A call of the operator's routes.
pub async fn post_evaluation(door: &ApiClient, what: &str, body: Value) -> anyhow::Result<Value> {
    let path = format!("/operator/v1/evaluations/{what}");
    door.request_json(Method::POST, &path, Some(&body)).await
}

impl SavedRun {
    /// Reads a run; wrong use if there is none of that name, or it has not ended.
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

    /// What differs beside corpus and set; wrong use if one of those does.
    pub fn check_comparable(&self, fingerprint: &RunFingerprint) -> anyhow::Result<Vec<&'static str>> {
        self.fingerprint.changed_parts(fingerprint).map_err(|error| {
            let detail = format!("incomparable: {error} than that of run {:?}", self.name);
            UsageError(format!("{detail}; hint: make a new baseline with --save")).into()
        })
    }

    /// Adds to a report how its metrics moved since this run. What another judge said is not compared.
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
