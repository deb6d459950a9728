//! nDCG, recall, precision, reciprocal rank, average precision and hit rate as trec_eval defines them.
//!
//! Gains are linear (gain/log2(rank + 1)), as in the figures of BEIR and MTEB. Documents with equal scores are ordered
//! by id, descending. Unjudged documents have gain 0.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Gains of the judged documents of one query, by document id.
pub type RelevanceJudgments = HashMap<String, i64>;
/// Ids and scores of the documents found for one query, in any order.
pub type ScoredDocuments = Vec<(String, f64)>;

/// A metric of a ranked list. Cut-offs k are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RankingMeasure {
    /// Discounted cumulative gain of the first k over the best possible one.
    Ndcg(usize),
    /// Share of the relevant documents among the first k.
    Recall(usize),
    /// Number of relevant documents among the first k, divided by k.
    Precision(usize),
    /// 1/rank of the first relevant document, 0 if it is not among the first k.
    Mrr(usize),
    /// 1/rank of the first relevant document at any rank, 0 if there is none.
    ReciprocalRank,
    /// Mean over the relevant documents of the precision at their rank; its mean over queries is MAP.
    AveragePrecision,
    /// 1 if a relevant document is among the first k, else 0.
    Hit(usize),
}

/// The metrics that reports contain.
pub const REPORTED_MEASURES: [RankingMeasure; 9] = [
    RankingMeasure::Ndcg(1),
    RankingMeasure::Ndcg(5),
    RankingMeasure::Ndcg(10),
    RankingMeasure::Recall(10),
    RankingMeasure::Recall(100),
    RankingMeasure::Precision(10),
    RankingMeasure::Mrr(10),
    RankingMeasure::AveragePrecision,
    RankingMeasure::Hit(5),
];

/// The key in reports, such as `ndcg_10` or `map`.
impl fmt::Display for RankingMeasure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RankingMeasure::Ndcg(k) => write!(formatter, "ndcg_{k}"),
            RankingMeasure::Recall(k) => write!(formatter, "recall_{k}"),
            RankingMeasure::Precision(k) => write!(formatter, "precision_{k}"),
            RankingMeasure::Mrr(k) => write!(formatter, "mrr_{k}"),
            RankingMeasure::ReciprocalRank => formatter.write_str("mrr"),
            RankingMeasure::AveragePrecision => formatter.write_str("map"),
            RankingMeasure::Hit(k) => write!(formatter, "hit_{k}"),
        }
    }
}

/// Values of each metric for each query, and their means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RankingEvaluation {
    /// Values by query id, in the order of the requested metrics.
    pub per_query: BTreeMap<String, Vec<f64>>,
    /// Means over the judged queries, in the same order; empty if there are none.
    pub mean: Vec<f64>,
}

/// Evaluates every query that has judgments: one without results scores 0, one without judgments is left out.
pub fn evaluate_run(
    run: &HashMap<String, ScoredDocuments>,
    judgments: &HashMap<String, RelevanceJudgments>,
    measures: &[RankingMeasure],
) -> RankingEvaluation {
    let mut evaluation = RankingEvaluation::default();
    for (query, judged) in judgments {
        let ranking = RankedGains::new(run.get(query).map_or(&[][..], Vec::as_slice), judged);
        let values = measures
            .iter()
            .map(|&measure| ranking.compute_measure(measure))
            .collect();
        evaluation.per_query.insert(query.clone(), values);
    }
    let queries = evaluation.per_query.len();
    if queries > 0 {
        let mean = |index: usize| evaluation.per_query.values().map(|values| values[index]).sum::<f64>();
        evaluation.mean = (0..measures.len()).map(|index| mean(index) / queries as f64).collect();
    }
    evaluation
}

/// The gains of one query's results in rank order, and those of an ideal ranking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankedGains {
    gains: Vec<i64>,
    ideal: Vec<i64>,
}

impl RankedGains {
    /// Orders the results by score as trec_eval does: in single precision, ties by id descending.
    pub fn new(found: &[(String, f64)], judgments: &RelevanceJudgments) -> RankedGains {
        let mut order: Vec<(&str, f32)> = found.iter().map(|(id, score)| (id.as_str(), *score as f32)).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(a.0)));
        let gains = order
            .iter()
            .map(|(id, _)| judgments.get(*id).copied().unwrap_or(0).max(0))
            .collect();
        RankedGains::from_gains(gains, judgments)
    }

    /// Uses results that are already ordered, such as the passages of an answer.
    pub fn from_ordered_ids<'a>(ids: impl IntoIterator<Item = &'a str>, judgments: &RelevanceJudgments) -> RankedGains {
        let gains = ids
            .into_iter()
            .map(|id| judgments.get(id).copied().unwrap_or(0).max(0))
            .collect();
        RankedGains::from_gains(gains, judgments)
    }

    fn from_gains(gains: Vec<i64>, judgments: &RelevanceJudgments) -> RankedGains {
        let mut ideal: Vec<i64> = judgments.values().copied().filter(|gain| *gain > 0).collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        RankedGains { gains, ideal }
    }

    /// The value of a metric, in [0, 1]; 0 for a query without a relevant document.
    pub fn compute_measure(&self, measure: RankingMeasure) -> f64 {
        let relevant = self.ideal.len();
        match measure {
            RankingMeasure::Ndcg(k) => ratio_or_zero(discounted_gain(&self.gains, k), discounted_gain(&self.ideal, k)),
            RankingMeasure::Recall(k) => ratio_or_zero(self.relevant_among(k) as f64, relevant as f64),
            RankingMeasure::Precision(k) => ratio_or_zero(self.relevant_among(k) as f64, k as f64),
            RankingMeasure::Mrr(k) => self.reciprocal_rank(k),
            RankingMeasure::ReciprocalRank => self.reciprocal_rank(usize::MAX),
            RankingMeasure::AveragePrecision => ratio_or_zero(self.precision_sum(), relevant as f64),
            RankingMeasure::Hit(k) => f64::from(u8::from(self.relevant_among(k) > 0)),
        }
    }

    fn relevant_among(&self, k: usize) -> usize {
        self.gains.iter().take(k).filter(|gain| **gain > 0).count()
    }

    fn reciprocal_rank(&self, k: usize) -> f64 {
        let first = self.gains.iter().take(k).position(|gain| *gain > 0);
        first.map_or(0.0, |rank| 1.0 / (rank + 1) as f64)
    }

    fn precision_sum(&self) -> f64 {
        let ranks = self
            .gains
            .iter()
            .enumerate()
            .filter(|(_, gain)| **gain > 0)
            .map(|(rank, _)| rank + 1);
        ranks
            .zip(1_u32..)
            .map(|(rank, relevant)| f64::from(relevant) / rank as f64)
            .sum()
    }
}

fn discounted_gain(gains: &[i64], k: usize) -> f64 {
    let discount = |rank: usize| ((rank + 2) as f64).log2();
    gains
        .iter()
        .take(k)
        .enumerate()
        .map(|(rank, &gain)| gain as f64 / discount(rank))
        .sum()
}

fn ratio_or_zero(part: f64, whole: f64) -> f64 {
    // The sum of no gains is -0.0; adding 0.0 removes its sign, which would be printed.
    if whole > 0.0 { part / whole + 0.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgments(pairs: &[(&str, i64)]) -> RelevanceJudgments {
        pairs.iter().map(|(id, gain)| ((*id).to_owned(), *gain)).collect()
    }

    fn check(order: &[&str], measure: RankingMeasure, expected: f64) {
        let ranking = RankedGains::from_ordered_ids(
            order.iter().copied(),
            &judgments(&[("a", 2), ("b", 1), ("c", 0), ("d", -1)]),
        );
        let value = ranking.compute_measure(measure);
        assert!(
            (value - expected).abs() < 1e-12,
            "{measure} of {order:?}: {value}, expected {expected}"
        );
    }

    #[test]
    fn values_follow_the_definitions() {
        let ideal = 2.0 + 1.0 / 3_f64.log2();
        check(&["a", "b"], RankingMeasure::Ndcg(10), 1.0);
        check(
            &["x", "b", "d", "a"],
            RankingMeasure::Ndcg(10),
            (1.0 / 3_f64.log2() + 2.0 / 5_f64.log2()) / ideal,
        );
        check(
            &["x", "b", "d", "a"],
            RankingMeasure::Ndcg(3),
            1.0 / 3_f64.log2() / ideal,
        );
        check(&["x", "b", "d", "a"], RankingMeasure::Recall(3), 0.5);
        check(&["b"], RankingMeasure::Precision(4), 0.25);
        check(&["x", "c", "a"], RankingMeasure::ReciprocalRank, 1.0 / 3.0);
        check(&["x", "c", "a"], RankingMeasure::Mrr(2), 0.0);
        check(
            &["b", "x", "a"],
            RankingMeasure::AveragePrecision,
            (1.0 + 2.0 / 3.0) / 2.0,
        );
        check(&["x", "a"], RankingMeasure::Hit(1), 0.0);
        check(&["x", "a"], RankingMeasure::Hit(2), 1.0);
        check(&[], RankingMeasure::Ndcg(10), 0.0);
    }

    #[test]
    fn ties_go_by_id_descending() {
        let found = [("a", 1.0), ("b", 1.0 + 1e-12), ("c", 2.0)].map(|(id, score)| (id.to_owned(), score));
        let ranking = RankedGains::new(&found, &judgments(&[("a", 1), ("b", 2), ("c", 3)]));
        assert_eq!(ranking.gains, [3, 2, 1]);
    }

    #[test]
    fn every_judged_query_counts_and_no_other() {
        let run = HashMap::from([
            ("1".to_owned(), vec![("a".to_owned(), 1.0)]),
            ("unjudged".to_owned(), vec![("a".to_owned(), 1.0)]),
        ]);
        let judged = judgments(&[("a", 1)]);
        let all = HashMap::from([("1".to_owned(), judged.clone()), ("2".to_owned(), judged)]);
        let evaluation = evaluate_run(&run, &all, &[RankingMeasure::Hit(1)]);
        assert_eq!(evaluation.mean, [0.5]);
        assert_eq!(evaluation.per_query["2"], [0.0]);
        assert_eq!(evaluation.per_query.len(), 2);
        assert_eq!(
            super::evaluate_run(&run, &HashMap::new(), &REPORTED_MEASURES),
            RankingEvaluation::default()
        );
    }

    #[test]
    fn equals_trec_eval() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/irmetrics/cases.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            ragstone_testkit::skip_test(
                "the trec_eval oracle",
                &format!("put the ranking measures' cases.json at {path}"),
            );
            return;
        };
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        for case in file["cases"].as_array().unwrap() {
            let judged: RelevanceJudgments = serde_json::from_value(case["qrels"].clone()).unwrap();
            let found: HashMap<String, f64> = serde_json::from_value(case["run"].clone()).unwrap();
            let ranking = RankedGains::new(&found.into_iter().collect::<Vec<_>>(), &judged);
            let mut compared = 0;
            for (name, expected) in case["expected"].as_object().unwrap() {
                let Some(measure) = named(name) else { continue };
                let (value, expected) = (ranking.compute_measure(measure), expected.as_f64().unwrap());
                assert!(
                    (value - expected).abs() < 1e-6,
                    "{} {name}: {value}, expected {expected}",
                    case["id"]
                );
                compared += 1;
            }
            assert_eq!(compared, 14, "{}", case["id"]);
        }
    }

    /// Name of a metric in trec_eval.
    fn named(name: &str) -> Option<RankingMeasure> {
        let (stem, cut) = name.rsplit_once('_').unwrap_or((name, ""));
        match (stem, cut.parse()) {
            ("ndcg_cut", Ok(k)) => Some(RankingMeasure::Ndcg(k)),
            ("recall", Ok(k)) => Some(RankingMeasure::Recall(k)),
            ("P", Ok(k)) => Some(RankingMeasure::Precision(k)),
            ("mrr", Ok(k)) => Some(RankingMeasure::Mrr(k)),
            _ if name == "map" => Some(RankingMeasure::AveragePrecision),
            _ if name == "recip_rank" => Some(RankingMeasure::ReciprocalRank),
            _ => None,
        }
    }
}
