//! `eval metrics`: measures a ranked list against judgments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use ragstone_core::metric::ranking::{RankingMeasure, evaluate_run};
use ragstone_core::metric::trec::{TrecError, parse_qrels, parse_run};
use serde::Serialize;

use crate::cli::output::CommandOutput;

/// Measures a ranked list against judgments, as `trec_eval` does
///
/// Gains are linear, ties go by document id descending, scores decide and not ranks. Means are over the questions of the
/// judgments; one without results scores 0.
#[derive(Debug, Args)]
pub struct EvalMetricsCommand {
    /// The list: `question Q0 document rank score tag` a line
    #[arg(long, value_name = "FILE")]
    run: PathBuf,
    /// The judgments: `question 0 document gain` a line, or a BEIR file with its headings
    #[arg(long, value_name = "FILE")]
    qrels: PathBuf,
    /// Where lists are cut, with commas between
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "10", value_parser = parse_cutoff)]
    k: Vec<usize>,
}

fn parse_cutoff(text: &str) -> Result<usize, String> {
    let cut = text.parse().ok().filter(|cut| *cut > 0);
    cut.ok_or_else(|| format!("{text:?} is not a number from 1"))
}

#[derive(Serialize)]
struct MetricsReport {
    mean: BTreeMap<String, f64>,
    per_query: BTreeMap<String, BTreeMap<String, f64>>,
}

impl EvalMetricsCommand {
    pub fn run(self, output: CommandOutput) -> anyhow::Result<()> {
        let run = read_trec_file(&self.run, parse_run)?;
        let judgments = read_trec_file(&self.qrels, parse_qrels)?;
        let measures = build_measures(&self.k);
        let evaluation = evaluate_run(&run, &judgments, &measures);
        let named = |values: &[f64]| {
            let names = measures.iter().map(ToString::to_string);
            names.zip(values.iter().copied()).collect::<BTreeMap<_, _>>()
        };
        let report = MetricsReport {
            mean: named(&evaluation.mean),
            per_query: evaluation
                .per_query
                .iter()
                .map(|(query, values)| (query.clone(), named(values)))
                .collect(),
        };
        match output.json {
            true => output.write_json_line(&report),
            false => show_metrics(&report, output),
        }
    }
}

fn read_trec_file<T>(path: &Path, parse: impl Fn(&str) -> Result<T, TrecError>) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

/// The measures at every cutoff, and the two that use the whole list.
fn build_measures(cuts: &[usize]) -> Vec<RankingMeasure> {
    let mut measures = vec![RankingMeasure::ReciprocalRank, RankingMeasure::AveragePrecision];
    for cut in cuts.iter().copied() {
        measures.extend([
            RankingMeasure::Ndcg(cut),
            RankingMeasure::Recall(cut),
            RankingMeasure::Precision(cut),
            RankingMeasure::Mrr(cut),
            RankingMeasure::Hit(cut),
        ]);
    }
    measures
}

fn show_metrics(report: &MetricsReport, output: CommandOutput) -> anyhow::Result<()> {
    for (name, value) in &report.mean {
        output.write_line(&format!("{name:<14} {value:.4}"))?;
    }
    output.write_line(&format!("{:<14} {}", "questions", report.per_query.len()))
}
