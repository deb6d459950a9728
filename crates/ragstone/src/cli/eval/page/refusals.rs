//! Answers against refusals: the run's shares, and those that other thresholds would have given.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ragstone_core::evaluate::{MetricSummary, QuestionOutcome};
use ragstone_core::metric::refusal::{CurvePoint, refusal_curve};

/// Most thresholds in the table.
const LISTED: usize = 12;

/// Renders the section if the run has the data.
pub(super) fn render_refusals(
    page: &mut String,
    metrics: &BTreeMap<String, MetricSummary>,
    outcomes: &BTreeMap<String, QuestionOutcome>,
) {
    let mean = |name: &str| metrics.get(name).map(|summary| summary.mean);
    let (answered, refused) = (mean("answered"), mean("refused"));
    if answered.is_none() && refused.is_none() {
        return;
    }
    let shown = |mean: Option<f64>| mean.map_or_else(|| "none".into(), format_percent);
    let _ = write!(
        page,
        "<h2>Answering against refusing</h2><p>Of the questions with an answer, {} are answered; of those without one, {} \
         are refused. A higher threshold refuses more of both; <code>ragstone eval calibrate</code> chooses it.",
        shown(answered),
        shown(refused)
    );
    if let Some(now) = answered.zip(refused) {
        let points = complete_curve_points(outcomes);
        render_curve(page, &points, now);
        render_threshold_table(page, &points);
    }
}

/// Thresholds and their two shares, for those that have both.
fn complete_curve_points(outcomes: &BTreeMap<String, QuestionOutcome>) -> Vec<(f64, (f64, f64))> {
    let reached = |score: &str| -> Vec<f64> {
        let asked = outcomes
            .values()
            .filter(|outcome| outcome.scores.get(score).is_some_and(Option::is_some));
        asked.filter_map(|outcome| outcome.strength).collect()
    };
    let both = |point: CurvePoint| Some((point.threshold, point.answered.zip(point.refused)?));
    let all = refusal_curve(&reached("answered"), &reached("refused"));
    all.into_iter().filter_map(both).collect()
}

/// Draws the curve in a square, and the run as a dot.
fn render_curve(page: &mut String, points: &[(f64, (f64, f64))], now: (f64, f64)) {
    let place = |(answered, refused): (f64, f64)| (answered * 100.0, 100.0 - refused * 100.0);
    page.push_str(
        "<figure><svg class=curve role=img aria-label=\"share of answerable questions answered, against share of \
         unanswerable questions refused\" viewBox=\"-2 -2 104 104\"><path class=axis d=\"M0 0V100H100\"/><polyline points=\"",
    );
    for (_, shares) in points {
        let (x, y) = place(*shares);
        let _ = write!(page, "{x:.1},{y:.1} ");
    }
    let (x, y) = place(now);
    let _ = write!(
        page,
        "\"/><circle cx={x:.1} cy={y:.1} r=2.5 /></svg><figcaption>Right: more of the answerable questions answered. Up: \
         more of the unanswerable ones refused. The dot is this run; the line is what thresholds on the best passage's \
         score would have done.</figcaption></figure>"
    );
}

fn render_threshold_table(page: &mut String, points: &[(f64, (f64, f64))]) {
    if points.is_empty() {
        return;
    }
    page.push_str("<table><tr><th>threshold<th>answered<th>refused");
    for (threshold, (answered, refused)) in points.iter().step_by(points.len().div_ceil(LISTED)) {
        let _ = write!(
            page,
            "<tr><th>{threshold:.2}<td>{}<td>{}",
            format_percent(*answered),
            format_percent(*refused)
        );
    }
    page.push_str("</table>");
}

fn format_percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use ragstone_core::evaluate::{MetricScores, summarise_scores};

    use super::*;

    fn outcome(score: &str, right: f64, strength: f64) -> QuestionOutcome {
        QuestionOutcome {
            scores: MetricScores::from([(score.to_owned(), Some(right))]),
            strength: Some(strength),
            ..QuestionOutcome::default()
        }
    }

    fn page(outcomes: &[QuestionOutcome]) -> String {
        let outcomes: BTreeMap<String, QuestionOutcome> = outcomes
            .iter()
            .enumerate()
            .map(|(n, outcome)| (n.to_string(), outcome.clone()))
            .collect();
        let metrics = summarise_scores(outcomes.values().map(|outcome| &outcome.scores));
        let mut page = String::new();
        render_refusals(&mut page, &metrics, &outcomes);
        page
    }

    #[test]
    fn the_curve_leads_from_answering_all_to_refusing_all() {
        let answerable = [(1.0, 2.0), (1.0, 1.5), (0.0, 0.5)].map(|(right, s)| outcome("answered", right, s));
        let without = [(1.0, 0.4), (0.0, 1.2)].map(|(right, s)| outcome("refused", right, s));
        let page = page(&[&answerable[..], &without[..]].concat());
        assert!(
            page.contains("66.7 % are answered") && page.contains("50.0 % are refused"),
            "{page}"
        );
        assert!(
            page.contains("points=\"100.0,100.0 100.0,50.0 66.7,50.0 66.7,0.0 33.3,0.0 0.0,0.0 \""),
            "{page}"
        );
        assert!(page.contains("cx=66.7 cy=50.0"), "{page}");
        assert!(page.contains("<td>66.7 %<td>100.0 %"), "{page}");
    }

    #[test]
    fn a_set_of_one_kind_has_no_curve_and_one_without_answers_no_section() {
        let one_kind = page(&[outcome("refused", 1.0, 0.4)]);
        assert!(
            one_kind.contains("answer, none are answered") && !one_kind.contains("<svg"),
            "{one_kind}"
        );
        assert_eq!(page(&[outcome("mrr_10", 1.0, 0.4)]), "");
    }
}
