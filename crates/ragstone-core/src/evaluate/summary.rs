//! Means of a run's metrics with confidence intervals.

use std::collections::BTreeMap;

use serde::Serialize;

use super::SEED;
use crate::metric::bootstrap::mean_interval;

/// Scores of a question by metric; `None` where a metric gives NaN.
pub type MetricScores = BTreeMap<String, Option<f64>>;

/// Metrics that are times in milliseconds: lower is better. They depend on the machine more than on the product.
pub const LATENCIES: [&str; 3] = ["search_ms", "first_token_ms", "ask_ms"];

/// Summary of a metric over the questions that have a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MetricSummary {
    /// Mean over these questions.
    pub mean: f64,
    /// Lower end of the 95 % interval of the mean.
    pub low: f64,
    /// Upper end of the 95 % interval of the mean.
    pub high: f64,
    /// Number of questions that have a score.
    pub questions: usize,
    /// Median; only for times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// 95th percentile; only for times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
}

/// Summarises each metric that has a score for at least one question.
pub fn summarise_scores<'a>(questions: impl IntoIterator<Item = &'a MetricScores>) -> BTreeMap<String, MetricSummary> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for scores in questions {
        for (name, score) in scores {
            values.entry(name).or_default().extend(score);
        }
    }
    let summaries = values
        .into_iter()
        .map(|(name, values)| (name.to_owned(), summarise_metric(name, values)));
    summaries.filter_map(|(name, summary)| Some((name, summary?))).collect()
}

fn summarise_metric(name: &str, mut values: Vec<f64>) -> Option<MetricSummary> {
    let interval = mean_interval(&values, SEED)?;
    values.sort_by(f64::total_cmp);
    let is_time = LATENCIES.contains(&name);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    Some(MetricSummary {
        mean: interval.mean,
        low: interval.low,
        high: interval.high,
        questions: values.len(),
        p50: is_time.then(|| at(0.5)),
        p95: is_time.then(|| at(0.95)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_over_what_was_scored() {
        let scores = |score: Option<f64>, time: f64| {
            MetricScores::from([("hit_5".to_owned(), score), ("ask_ms".to_owned(), Some(time))])
        };
        let run = [scores(Some(1.0), 1.0), scores(Some(0.0), 2.0), scores(None, 9.0)];
        let summaries = summarise_scores(&run);
        let hit = summaries["hit_5"];
        assert_eq!((hit.mean, hit.questions, hit.p50), (0.5, 2, None));
        assert!(hit.low == 0.0 && hit.high == 1.0);
        let time = summaries["ask_ms"];
        assert_eq!((time.p50, time.p95), (Some(2.0), Some(9.0)));
        assert!(summarise_scores(&[MetricScores::from([("x".to_owned(), None)])]).is_empty());
    }
}
