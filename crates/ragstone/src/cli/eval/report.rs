//! What a run came to, for people and programs; and which runs there are.

use std::collections::BTreeMap;

use clap::Args;
use ragstone_core::evaluate::{Compared, LATENCIES, Outcome, Summary, summarise};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::client::Door;
use crate::cli::output::{Output, say};
use crate::wiring::ModelFetch;

/// Tokens that a run's answers took.
#[derive(Debug, Serialize)]
struct Tokens {
    prompt: u64,
    completion: u64,
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub struct Report {
    run: String,
    questions: usize,
    /// Its metrics.
    pub metrics: BTreeMap<String, Summary>,
    tokens: Tokens,
    /// Documents that the set judges relevant and the library lacks.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing_documents: usize,
    /// Judgements without a score, by metric.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unjudged: BTreeMap<String, usize>,
    /// The run it was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// What differs from it beside the outcomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<Vec<&'static str>>,
    /// How each metric moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<BTreeMap<String, Compared>>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Report {
    /// The report of a run.
    pub fn of(name: &str, outcomes: &BTreeMap<String, Outcome>) -> Self {
        let mut unjudged = BTreeMap::new();
        for (metric, _) in outcomes.values().flat_map(|outcome| &outcome.unjudged) {
            *unjudged.entry(metric.clone()).or_default() += 1;
        }
        let sum = |tokens: fn(&Outcome) -> u64| outcomes.values().map(tokens).sum();
        Self {
            run: name.to_owned(),
            questions: outcomes.len(),
            metrics: summarise(outcomes.values().map(|outcome| &outcome.scores)),
            tokens: Tokens {
                prompt: sum(|outcome| outcome.prompt_tokens),
                completion: sum(|outcome| outcome.completion_tokens),
            },
            missing_documents: 0,
            unjudged,
            baseline: None,
            changed: None,
            compared: None,
        }
    }

    /// Metrics that became worse.
    pub fn regressions(&self) -> Vec<&str> {
        let compared = self.compared.iter().flatten();
        let worse = compared.filter(|(_, compared)| compared.regression);
        worse.map(|(name, _)| name.as_str()).collect()
    }

    /// Writes it.
    pub fn show(&self, output: Output) -> anyhow::Result<()> {
        if output.json {
            return output.object(self);
        }
        output.line(&format!("run {}: {} questions", self.run, self.questions))?;
        for (name, summary) in &self.metrics {
            output.line(&format!("  {name:<34} {}", self.row(name, summary)))?;
        }
        for (metric, count) in &self.unjudged {
            say(&format!("note: {metric}: {count} answers could not be judged"));
        }
        if let (Some(baseline), Some(changed)) = (&self.baseline, &self.changed) {
            let changed = match changed.is_empty() {
                true => "nothing it is made of changed".to_owned(),
                false => format!("changed: {}", changed.join(", ")),
            };
            say(&format!("compared with {baseline}; {changed}"));
        }
        Ok(())
    }

    fn row(&self, name: &str, summary: &Summary) -> String {
        let mut row = match LATENCIES.contains(&name) {
            true => format!(
                "p50 {:.1}  p95 {:.1}",
                summary.p50.unwrap_or_default(),
                summary.p95.unwrap_or_default()
            ),
            false => format!("{:.3}  [{:.3}, {:.3}]", summary.mean, summary.low, summary.high),
        };
        if let Some(moved) = self.compared.as_ref().and_then(|compared| compared.get(name)) {
            let word = if moved.regression { "  REGRESSION" } else { "" };
            let (difference, low, high) = (moved.difference, moved.low, moved.high);
            row.push_str(&format!("   {difference:+.3}  [{low:+.3}, {high:+.3}]{word}"));
        }
        row
    }
}

/// Lists the runs that are kept
#[derive(Debug, Args)]
pub struct Runs {}

impl Runs {
    pub async fn run(self, context: Context) -> anyhow::Result<()> {
        let door = Door::open(&context.settings, ModelFetch::Never).await?;
        let runs = door.get("/operator/v1/evaluations").await;
        door.close().await;
        for run in runs?["runs"].as_array().into_iter().flatten() {
            match context.output.json {
                true => context.output.object(run)?,
                false => {
                    let name = run["run"].as_str().unwrap_or_default();
                    let state = if run["finished"] == true {
                        ""
                    } else {
                        "  (not finished)"
                    };
                    context.output.line(&format!("{name}{state}"))?;
                }
            }
        }
        Ok(())
    }
}
