//! `eval metrics`: a ranked list against judgments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use ragstone_core::metric::ranking::{Measure, evaluate};
use ragstone_core::metric::trec::{TrecError, parse_qrels, parse_run};
use serde::Serialize;

use crate::cli::output::Output;

/// Measures a ranked list against judgments, as `trec_eval` does
///
/// Gains are linear, ties go by document id descending, scores decide and not ranks. Means are over the questions of the
/// judgments; one without results scores 0.
#[derive(Debug, Args)]
pub struct Metrics {
    /// The list: `question Q0 document rank score tag` a line
    #[arg(long, value_name = "FILE")]
    run: PathBuf,
    /// The judgments: `question 0 document gain` a line, or a BEIR file with its headings
    #[arg(long, value_name = "FILE")]
    qrels: PathBuf,
    /// Where lists are cut, with commas between
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "10", value_parser = cut)]
    k: Vec<usize>,
}

fn cut(text: &str) -> Result<usize, String> {
    let cut = text.parse().ok().filter(|cut| *cut > 0);
    cut.ok_or_else(|| format!("{text:?} is not a number from 1"))
}

#[derive(Serialize)]
struct Report {
    mean: BTreeMap<String, f64>,
    per_query: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Metrics {
    pub fn run(self, output: Output) -> anyhow::Result<()> {
        let run = read(&self.run, parse_run)?;
        let judgments = read(&self.qrels, parse_qrels)?;
        let measures = measures(&self.k);
        let evaluation = evaluate(&run, &judgments, &measures);
        let named = |values: &[f64]| {
            let names = measures.iter().map(ToString::to_string);
            names.zip(values.iter().copied()).collect::<BTreeMap<_, _>>()
        };
        let report = Report {
            mean: named(&evaluation.mean),
            per_query: evaluation
                .per_query
                .iter()
                .map(|(query, values)| (query.clone(), named(values)))
                .collect(),
        };
        match output.json {
            true => output.object(&report),
            false => show(&report, output),
        }
    }
}

fn read<T>(path: &Path, parse: impl Fn(&str) -> Result<T, TrecError>) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

/// Each at every cut, and the two that look at the whole list.
fn measures(cuts: &[usize]) -> Vec<Measure> {
    let mut measures = vec![Measure::ReciprocalRank, Measure::AveragePrecision];
    for cut in cuts.iter().copied() {
        measures.extend([
            Measure::Ndcg(cut),
            Measure::Recall(cut),
            Measure::Precision(cut),
            Measure::Mrr(cut),
            Measure::Hit(cut),
        ]);
    }
    measures
}

fn show(report: &Report, output: Output) -> anyhow::Result<()> {
    for (name, value) in &report.mean {
        output.line(&format!("{name:<14} {value:.4}"))?;
    }
    output.line(&format!("{:<14} {}", "questions", report.per_query.len()))
}
