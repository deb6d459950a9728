//! The report of a run for people and programs, and the list of runs.

use std::collections::BTreeMap;

use clap::Args;
use ragstone_core::evaluate::{LATENCIES, MetricComparison, MetricSummary, QuestionOutcome, summarise_scores};
use serde::Serialize;

use crate::cli::CommandContext;
use crate::cli::client::ApiClient;
use crate::cli::output::{CommandOutput, print_message};
use crate::wiring::ModelFetch;

/// Tokens used by a run's answers.
#[derive(Debug, Serialize)]
struct TokenTotals {
    prompt: u64,
    completion: u64,
}

/// Report of a run.
#[derive(Debug, Serialize)]
pub struct EvalReport {
    run: String,
    questions: usize,
    /// Metrics of the run.
    pub metrics: BTreeMap<String, MetricSummary>,
    tokens: TokenTotals,
    /// Documents that the set judges relevant and the library lacks.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing_documents: usize,
    /// Number of judgements without a score, by metric.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unjudged: BTreeMap<String, usize>,
    /// Name of the run it was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Parts of the fingerprint that differ from the baseline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<Vec<&'static str>>,
    /// Change of each metric since the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<BTreeMap<String, MetricComparison>>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl EvalReport {
    /// Builds the report of a run from its outcomes.
    pub fn from_outcomes(name: &str, outcomes: &BTreeMap<String, QuestionOutcome>) -> Self {
        let mut unjudged = BTreeMap::new();
        for (metric, _) in outcomes.values().flat_map(|outcome| &outcome.unjudged) {
            *unjudged.entry(metric.clone()).or_default() += 1;
        }
        let sum = |tokens: fn(&QuestionOutcome) -> u64| outcomes.values().map(tokens).sum();
        Self {
            run: name.to_owned(),
            questions: outcomes.len(),
            metrics: summarise_scores(outcomes.values().map(|outcome| &outcome.scores)),
            tokens: TokenTotals {
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

    /// Names of the metrics that became worse.
    pub fn list_regressions(&self) -> Vec<&str> {
        let compared = self.compared.iter().flatten();
        let worse = compared.filter(|(_, compared)| compared.regression);
        worse.map(|(name, _)| name.as_str()).collect()
    }

    /// Writes the report as JSON or text.
    pub fn show_report(&self, output: CommandOutput) -> anyhow::Result<()> {
        if output.json {
            return output.write_json_line(self);
        }
        output.write_line(&format!("run {}: {} questions", self.run, self.questions))?;
        for (name, summary) in &self.metrics {
            output.write_line(&format!("  {name:<34} {}", self.format_metric(name, summary)))?;
        }
        for (metric, count) in &self.unjudged {
            print_message(&format!("note: {metric}: {count} answers could not be judged"));
        }
        if let (Some(baseline), Some(changed)) = (&self.baseline, &self.changed) {
            let changed = match changed.is_empty() {
                true => "nothing it is made of changed".to_owned(),
                false => format!("changed: {}", changed.join(", ")),
            };
            print_message(&format!("compared with {baseline}; {changed}"));
        }
        Ok(())
    }

    fn format_metric(&self, name: &str, summary: &MetricSummary) -> String {
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
pub struct EvalRunsCommand {}

impl EvalRunsCommand {
    pub async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let door = ApiClient::connect(&context.settings, ModelFetch::Never).await?;
        let runs = door.get_json("/operator/v1/evaluations").await;
        door.close().await;
        for run in runs?["runs"].as_array().into_iter().flatten() {
            match context.output.json {
                true => context.output.write_json_line(run)?,
                false => {
                    let name = run["run"].as_str().unwrap_or_default();
                    let state = if run["finished"] == true {
                        ""
                    } else {
                        "  (not finished)"
                    };
                    context.output.write_line(&format!("{name}{state}"))?;
                }
            }
        }
        Ok(())
    }
}
