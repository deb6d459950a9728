//! Runs that are kept, read again.

use std::collections::BTreeMap;

use axum::http::Method;
use ragstone_core::evaluate::{Fingerprint, Outcome, Scores, compare};
use ragstone_core::metric::ragas::Metric;
use serde_json::{Value, json};

use super::report::Report;
use crate::cli::Usage;
use crate::cli::client::{Door, Refusal};

/// Outcomes by question.
pub type Outcomes = BTreeMap<String, Outcome>;

/// A run that has ended.
pub struct Kept {
    /// Its name.
    pub name: String,
    /// What it was made of.
    pub fingerprint: Fingerprint,
    /// What came of it.
    pub outcomes: Outcomes,
}

/// A call of the operator's routes.
pub async fn post(door: &Door, what: &str, body: Value) -> anyhow::Result<Value> {
    let path = format!("/operator/v1/evaluations/{what}");
    door.json(Method::POST, &path, Some(&body)).await
}

impl Kept {
    /// Reads a run; wrong use if there is none of that name, or it has not ended.
    pub async fn read(door: &Door, name: &str) -> anyhow::Result<Self> {
        let run = match post(door, "read", json!({ "name": name })).await {
            Ok(run) => run,
            Err(error) => {
                let refusal = error.downcast_ref::<Refusal>();
                return Err(match refusal.is_some_and(|refusal| refusal.code == "not_found") {
                    true => Usage(format!(
                        "there is no run {name:?}; hint: `ragstone eval runs` lists them"
                    ))
                    .into(),
                    false => error,
                });
            }
        };
        if run["finished"] != json!(true) {
            return Err(Usage(format!("run {name:?} is not finished")).into());
        }
        Ok(Self {
            name: name.to_owned(),
            fingerprint: serde_json::from_value(run["fingerprint"].clone())?,
            outcomes: serde_json::from_value(run["outcomes"].clone())?,
        })
    }

    /// What differs beside corpus and set; wrong use if one of those does.
    pub fn changes(&self, fingerprint: &Fingerprint) -> anyhow::Result<Vec<&'static str>> {
        self.fingerprint.changes(fingerprint).map_err(|error| {
            let detail = format!("incomparable: {error} than that of run {:?}", self.name);
            Usage(format!("{detail}; hint: make a new baseline with --save")).into()
        })
    }

    /// Adds to a report how its metrics moved since this run. What another judge said is not compared.
    pub fn hold_against(&self, report: &mut Report, outcomes: &Outcomes, changed: Vec<&'static str>) {
        let mut old = scores(&self.outcomes);
        if changed.contains(&"judge") {
            old.values_mut()
                .for_each(|scores| scores.retain(|name, _| Metric::named(name).is_none()));
        }
        report.compared = Some(compare(&old, &scores(outcomes)));
        report.baseline = Some(self.name.clone());
        report.changed = Some(changed);
    }
}

fn scores(outcomes: &Outcomes) -> BTreeMap<String, Scores> {
    let scores = |(id, outcome): (&String, &Outcome)| (id.clone(), outcome.scores.clone());
    outcomes.iter().map(scores).collect()
}
