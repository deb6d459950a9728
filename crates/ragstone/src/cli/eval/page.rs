//! Renders a run as one HTML page: metrics, distributions and the worst questions with their passages. The page loads
//! nothing from the network, and all text of documents is escaped.

mod refusals;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ragstone_core::evaluate::{LATENCIES, MetricComparison, MetricSummary, QuestionOutcome};

/// Questions that are shown with their passages.
const WORST: usize = 20;
/// Changed questions that are listed in each direction.
const MOVED: usize = 10;
/// Bars of a histogram.
const BARS: usize = 10;
/// Characters of a passage that are shown.
const PASSAGE_CHARACTERS: usize = 600;
/// The quality of a question is the mean of those of these metrics that it has.
const QUALITY_METRICS: [&str; 6] = [
    "contains_gold",
    "token_f1",
    "refusal_accuracy",
    "page_mrr_10",
    "mrr_10",
    "ndcg_10",
];

const STYLE: &str = include_str!("page.css");

/// Contents of a page.
pub struct EvalPage<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Metrics of the run.
    pub metrics: &'a BTreeMap<String, MetricSummary>,
    /// Outcomes by question id.
    pub outcomes: &'a BTreeMap<String, QuestionOutcome>,
    /// Comparison with an earlier run, if there is one.
    pub since: Option<BaselineComparison<'a>>,
}

/// An earlier run, and what changed since.
pub struct BaselineComparison<'a> {
    /// Name of the earlier run.
    pub baseline: &'a str,
    /// Change of each metric.
    pub metrics: &'a BTreeMap<String, MetricComparison>,
    /// Parts of the fingerprints that differ.
    pub changed: &'a [&'static str],
    /// Outcomes of the earlier run by question id.
    pub outcomes: &'a BTreeMap<String, QuestionOutcome>,
}

impl EvalPage<'_> {
    /// Renders the page as HTML.
    pub fn render_html(&self) -> String {
        let mut page = String::new();
        let title = format!("Evaluation: {}", escape_html(self.run));
        let _ = write!(
            page,
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
             <title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1><p>{} questions</p>",
            self.outcomes.len()
        );
        self.render_metrics(&mut page);
        self.render_changes(&mut page);
        refusals::render_refusals(&mut page, self.metrics, self.outcomes);
        self.render_worst_questions(&mut page);
        page.push_str("</main></html>\n");
        page
    }

    fn render_metrics(&self, page: &mut String) {
        page.push_str(
            "<h2>Numbers</h2><table><tr><th>metric<th>mean<th>its 95 % interval<th>questions<th>distribution",
        );
        if let Some(since) = &self.since {
            let _ = write!(page, "<th>against {}", escape_html(since.baseline));
        }
        for (name, summary) in self.metrics {
            let (mean, low, high) = (summary.mean, summary.low, summary.high);
            let numbers = match summary.p50.zip(summary.p95) {
                Some((median, late)) => {
                    format!("{mean:.1} <small>p50 {median:.1}, p95 {late:.1}</small><td>{low:.1} to {high:.1}")
                }
                None => format!("{mean:.3}<td>{low:.3} to {high:.3}"),
            };
            let _ = write!(
                page,
                "<tr><th>{}<td>{numbers}<td>{}<td>{}",
                escape_html(name),
                summary.questions,
                self.render_distribution(name)
            );
            if let Some(since) = &self.since {
                page.push_str(&render_difference(since.metrics.get(name)));
            }
        }
        page.push_str("</table>");
    }

    /// Histogram of a metric's scores, from 0 (or the minimum) to 1 (or the maximum).
    fn render_distribution(&self, name: &str) -> String {
        let scores = self
            .outcomes
            .values()
            .filter_map(|outcome| outcome.scores.get(name).copied().flatten());
        let scores: Vec<f64> = scores.collect();
        let most = scores.iter().copied().fold(1.0, f64::max);
        let least = scores.iter().copied().fold(0.0, f64::min);
        let mut bars = [0_usize; BARS];
        for score in &scores {
            let at = (score - least) / (most - least) * BARS as f64;
            bars[(at as usize).min(BARS - 1)] += 1;
        }
        let highest = bars.iter().copied().max().unwrap_or_default().max(1);
        let mut svg = format!("<svg role=img aria-label=\"{least:.0} to {most:.0}\" viewBox=\"0 0 100 20\">");
        for (at, count) in bars.iter().enumerate() {
            let height = 20.0 * *count as f64 / highest as f64;
            let _ = write!(
                svg,
                "<rect x={} y={:.1} width=9 height={height:.1}><title>{count}</title></rect>",
                at * 10,
                20.0 - height
            );
        }
        svg + "</svg>"
    }

    /// Differences from the baseline: of the fingerprint, and of single questions.
    fn render_changes(&self, page: &mut String) {
        let Some(since) = &self.since else { return };
        let made_of = match since.changed {
            [] => "Nothing that the runs are made of changed.".to_owned(),
            changed => format!("Changed: {}.", changed.join(", ")),
        };
        let _ = write!(page, "<h2>Since {}</h2><p>{made_of}", escape_html(since.baseline));
        let difference = |(id, outcome): (&String, &QuestionOutcome)| {
            let (old, new) = (question_quality(since.outcomes.get(id)?)?, question_quality(outcome)?);
            Some((new - old, old, new, outcome.question.clone()))
        };
        let mut moved: Vec<_> = self.outcomes.iter().filter_map(difference).collect();
        moved.retain(|(difference, ..)| difference.abs() > f64::EPSILON);
        moved.sort_by(|a, b| a.0.total_cmp(&b.0));
        if moved.is_empty() {
            page.push_str(" No question is answered better or worse than before.");
            return;
        }
        let (worse, better) = moved.split_at(moved.partition_point(|(difference, ..)| *difference < 0.0));
        let shown = worse.iter().take(MOVED).chain(better.iter().rev().take(MOVED));
        let _ = write!(
            page,
            " {} questions became worse, {} better.<table><tr><th>question<th>before<th>after",
            worse.len(),
            better.len()
        );
        for (difference, old, new, question) in shown {
            let class = if *difference < 0.0 { "worse" } else { "better" };
            let _ = write!(
                page,
                "<tr><th>{}<td>{old:.2}<td class={class}>{new:.2}",
                escape_html(question)
            );
        }
        page.push_str("</table>");
    }

    fn render_worst_questions(&self, page: &mut String) {
        let bad = |(id, outcome)| Some((question_quality(outcome).filter(|good| *good < 1.0)?, id, outcome));
        let mut worst: Vec<(f64, &String, &QuestionOutcome)> = self.outcomes.iter().filter_map(bad).collect();
        worst.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        page.push_str("<h2>The worst questions</h2>");
        if worst.is_empty() {
            page.push_str("<p>Nothing is wrong with any of them, as far as the set can tell.");
        }
        for (_, id, outcome) in worst.into_iter().take(WORST) {
            render_question(page, id, outcome);
        }
    }
}

/// Quality of a question, 0 to 1; `None` if it has none of the metrics.
fn question_quality(outcome: &QuestionOutcome) -> Option<f64> {
    let scores = QUALITY_METRICS
        .iter()
        .filter_map(|name| outcome.scores.get(*name).copied().flatten());
    let scores: Vec<f64> = scores.collect();
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

fn render_difference(compared: Option<&MetricComparison>) -> String {
    let Some(moved) = compared else {
        return "<td>".into();
    };
    let class = match (moved.regression, moved.difference == 0.0) {
        (true, _) => "worse",
        (false, true) => "same",
        (false, false) => "moved",
    };
    let (difference, low, high) = (moved.difference, moved.low, moved.high);
    let word = if moved.regression { " regression" } else { "" };
    format!("<td class={class}>{difference:+.3} <small>[{low:+.3}, {high:+.3}]</small>{word}")
}

fn render_question(page: &mut String, id: &str, outcome: &QuestionOutcome) {
    let answer = if outcome.answered {
        escape_html(&outcome.answer)
    } else {
        "<em>not answered</em>".into()
    };
    let _ = write!(
        page,
        "<details><summary>{} <small>{}</small></summary><p>{answer}<p class=scores>",
        escape_html(&outcome.question),
        escape_html(id)
    );
    let scored = outcome
        .scores
        .iter()
        .filter(|(name, _)| !LATENCIES.contains(&name.as_str()));
    for (name, score) in scored {
        let score = score.map_or_else(|| "none".into(), |score| format!("{score:.2}"));
        let _ = write!(page, "<span>{} {score}</span> ", escape_html(name));
    }
    page.push_str("<ol>");
    let places = if outcome.shown.is_empty() {
        &outcome.found
    } else {
        &outcome.shown
    };
    for shown in places.iter().take(10) {
        let page_number = shown.page.map_or_else(String::new, |page| format!(", page {page}"));
        let text: String = shown.text.chars().take(PASSAGE_CHARACTERS).collect();
        let _ = write!(
            page,
            "<li><b>{}{page_number}</b><br>{}",
            escape_html(&shown.uri),
            escape_html(&text)
        );
    }
    page.push_str("</ol></details>");
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}

/// Renders a run as JUnit XML: one test case per metric, failed if it became worse.
pub fn render_junit(
    run: &str,
    metrics: &BTreeMap<String, MetricSummary>,
    compared: Option<&BTreeMap<String, MetricComparison>>,
) -> String {
    let worse = |name: &String| {
        compared
            .and_then(|compared| compared.get(name))
            .filter(|moved| moved.regression)
    };
    let failures = metrics.keys().filter(|name| worse(name).is_some()).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\">\n",
        escape_html(run),
        metrics.len()
    );
    for (name, summary) in metrics {
        let _ = write!(
            xml,
            "  <testcase classname=\"{}\" name=\"{}\">",
            escape_html(run),
            escape_html(name)
        );
        if let Some(moved) = worse(name) {
            let (difference, low, high) = (moved.difference, moved.low, moved.high);
            let _ = write!(xml, "<failure message=\"{difference:+.3} [{low:+.3}, {high:+.3}]\"/>");
        }
        let _ = writeln!(xml, "<system-out>{:.6}</system-out></testcase>", summary.mean);
    }
    xml + "</testsuite>\n"
}

#[cfg(test)]
mod tests {
    use ragstone_core::evaluate::{MetricScores, OutcomePassage, compare_runs, summarise_scores};

    use super::*;

    fn outcomes(score: f64) -> BTreeMap<String, QuestionOutcome> {
        let outcome = |n: usize| QuestionOutcome {
            question: format!("<script>alert({n})</script>"),
            scores: MetricScores::from([("mrr_10".to_owned(), Some(score))]),
            shown: vec![OutcomePassage {
                uri: "a&b.pdf".into(),
                page: Some(2),
                text: "\"<b>\"".into(),
            }],
            ..QuestionOutcome::default()
        };
        (0..8).map(|n| (n.to_string(), outcome(n))).collect()
    }

    fn scores(outcomes: &BTreeMap<String, QuestionOutcome>) -> BTreeMap<String, MetricScores> {
        outcomes
            .iter()
            .map(|(id, outcome)| (id.clone(), outcome.scores.clone()))
            .collect()
    }

    #[test]
    fn nothing_of_a_document_is_markup_and_nothing_is_loaded() {
        let (old, new) = (outcomes(1.0), outcomes(0.5));
        let metrics = summarise_scores(new.values().map(|outcome| &outcome.scores));
        let compared = compare_runs(&scores(&old), &scores(&new));
        let page = EvalPage {
            run: "a<b",
            metrics: &metrics,
            outcomes: &new,
            since: Some(BaselineComparison {
                baseline: "base",
                metrics: &compared,
                changed: &["settings"],
                outcomes: &old,
            }),
        }
        .render_html();
        assert!(page.contains("&lt;script&gt;alert(0)") && page.contains("a&amp;b.pdf, page 2"));
        for absent in ["<script", "<b>\"", "http:", "https:", "src=", "url("] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert!(page.contains("-0.500") && page.contains(" regression"));
        assert!(page.contains("Changed: settings. 8 questions became worse, 0 better."));
        let alone = EvalPage {
            run: "a",
            metrics: &metrics,
            outcomes: &old,
            since: None,
        };
        let alone = alone.render_html();
        assert!(alone.contains("Nothing is wrong with any of them") && !alone.contains("<h2>Since"));
        let xml = render_junit("a<b", &metrics, Some(&compared));
        assert!(
            xml.contains("failures=\"1\"") && xml.contains("name=\"a&lt;b\""),
            "{xml}"
        );
        assert!(render_junit("r", &metrics, None).contains("failures=\"0\""));
    }
}
