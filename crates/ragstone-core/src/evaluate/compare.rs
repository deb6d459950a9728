//! Comparison of two runs over the same questions: which metrics differ, and whether chance explains it.
//!
//! A metric is a regression if the interval of its paired difference lies completely on the worse side, and its
//! one-sided permutation test is significant among all metrics that moved, at a false discovery rate of 5 %. Times are
//! reported but never called a regression, because they depend on the machine as much as on the product.

use std::collections::BTreeMap;

use serde::Serialize;

use super::SEED;
use super::summary::{LATENCIES, MetricScores};
use crate::metric::bootstrap::paired_difference;
use crate::metric::permutation::{benjamini_hochberg, one_sided_p_value};
use crate::metric::ragas::RagasMetric;

/// Smaller differences count as none: one of the two scores went through JSON and may be rounded.
const ROUNDING: f64 = 1e-9;

/// False discovery rate: accepted share of false regressions among reported ones.
const FALSE_ALARMS: f64 = 0.05;

/// Difference of one metric between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MetricComparison {
    /// Mean of new − old over the questions that have a score in both runs.
    pub difference: f64,
    /// Lower end of the 95 % interval of `difference`.
    pub low: f64,
    /// Upper end of the 95 % interval of `difference`.
    pub high: f64,
    /// One-sided p value: probability of a result this bad by chance alone.
    pub p: f64,
    /// Number of questions that have a score in both runs.
    pub questions: usize,
    /// Whether the metric became significantly worse.
    pub regression: bool,
}

/// Compares each metric that both runs have for a common question.
pub fn compare_runs(
    old: &BTreeMap<String, MetricScores>,
    new: &BTreeMap<String, MetricScores>,
) -> BTreeMap<String, MetricComparison> {
    let mut compared: BTreeMap<String, MetricComparison> = pair_scores(old, new)
        .into_iter()
        .filter_map(|(name, pairs)| Some((name.clone(), compare_metric(&name, &pairs)?)))
        .collect();
    let tested: Vec<(String, f64)> = compared
        .iter()
        .filter(|(name, compared)| !LATENCIES.contains(&name.as_str()) && compared.difference != 0.0)
        .map(|(name, compared)| (name.clone(), compared.p))
        .collect();
    let p_values: Vec<f64> = tested.iter().map(|(_, p)| *p).collect();
    for ((name, _), stands) in tested.iter().zip(benjamini_hochberg(&p_values, FALSE_ALARMS)) {
        if let Some(compared) = compared.get_mut(name) {
            let worse = match is_better_higher(name) {
                true => compared.high < 0.0,
                false => compared.low > 0.0,
            };
            compared.regression = stands && worse;
        }
    }
    compared
}

type ScorePairs = BTreeMap<String, Vec<(f64, f64)>>;

fn pair_scores(old: &BTreeMap<String, MetricScores>, new: &BTreeMap<String, MetricScores>) -> ScorePairs {
    let mut pairs = ScorePairs::new();
    for (question, new) in new {
        for (name, new) in new {
            let old = old.get(question).and_then(|scores| scores.get(name)).copied().flatten();
            if let (Some(old), Some(new)) = (old, *new) {
                let new = if (new - old).abs() < ROUNDING { old } else { new };
                pairs.entry(name.clone()).or_default().push((old, new));
            }
        }
    }
    pairs
}

fn compare_metric(name: &str, pairs: &[(f64, f64)]) -> Option<MetricComparison> {
    let interval = paired_difference(pairs.iter().copied(), SEED)?;
    let sign = if is_better_higher(name) { 1.0 } else { -1.0 };
    let gains: Vec<f64> = pairs.iter().map(|(old, new)| sign * (new - old)).collect();
    Some(MetricComparison {
        difference: interval.mean,
        low: interval.low,
        high: interval.high,
        p: one_sided_p_value(&gains, SEED),
        questions: pairs.len(),
        regression: false,
    })
}

fn is_better_higher(name: &str) -> bool {
    !LATENCIES.contains(&name) && RagasMetric::from_name(name).is_none_or(RagasMetric::is_better_higher)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(metric: &str, scores: impl IntoIterator<Item = f64>) -> BTreeMap<String, MetricScores> {
        let question = |(id, score): (usize, f64)| {
            let scores = MetricScores::from([(metric.to_owned(), Some(score)), ("hit_5".to_owned(), Some(1.0))]);
            (id.to_string(), scores)
        };
        scores.into_iter().enumerate().map(question).collect()
    }

    #[track_caller]
    fn check(metric: &str, old: &[f64], new: &[f64], difference: f64, regression: bool) {
        let compared = compare_runs(&run(metric, old.iter().copied()), &run(metric, new.iter().copied()));
        let found = compared[metric];
        assert_eq!(
            (found.difference, found.regression),
            (difference, regression),
            "{found:?}"
        );
        assert!(!compared["hit_5"].regression);
    }

    #[test]
    fn worse_than_chance_is_a_regression() {
        check("ndcg_10", &[1.0; 8], &[0.5; 8], -0.5, true);
        check("ndcg_10", &[0.5; 8], &[1.0; 8], 0.5, false);
        check("ndcg_10", &[1.0, 0.5, 0.25], &[1.0, 0.5, 0.25], 0.0, false);
        check("ndcg_10", &[1.0; 8], &[1.0 - 1e-15; 8], 0.0, false);
        check("ndcg_10", &[1.0; 3], &[0.5; 3], -0.5, false);
        check(
            "ndcg_10",
            &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
            &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0],
            -1.0 / 6.0,
            false,
        );
    }

    #[test]
    fn some_metrics_are_better_low_and_times_never_regress() {
        check("noise_sensitivity", &[0.0; 8], &[0.5; 8], 0.5, true);
        check("noise_sensitivity", &[0.5; 8], &[0.0; 8], -0.5, false);
        check("ask_ms", &[1.0; 8], &[100.0; 8], 99.0, false);
    }

    #[test]
    fn only_common_questions_count() {
        let old = run("map", [1.0, 1.0]);
        let mut new = run("map", [1.0, 1.0, 0.0]);
        new.get_mut("1").unwrap().insert("map".into(), None);
        assert_eq!(compare_runs(&old, &new)["map"].questions, 1);
        assert!(compare_runs(&BTreeMap::new(), &new).is_empty());
    }
}
