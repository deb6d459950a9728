//! Metrics of an outcome that need no judge.
//!
//! A metric is left out if the question lacks what it needs, such as relevant documents or a reference answer.

use std::collections::BTreeMap;

use super::document_name::matches_name;
use super::outcome::{OutcomePassage, QuestionOutcome};
use super::set::EvaluationQuestion;
use super::summary::MetricScores;
use crate::metric::answer::{contains_reference, token_f1};
use crate::metric::ranking::{RankedGains, RankingMeasure, RelevanceJudgments};

/// Metrics of the ranked documents.
const DOCUMENT_MEASURES: [RankingMeasure; 7] = [
    RankingMeasure::Ndcg(10),
    RankingMeasure::Recall(10),
    RankingMeasure::Precision(10),
    RankingMeasure::Mrr(10),
    RankingMeasure::AveragePrecision,
    RankingMeasure::Hit(1),
    RankingMeasure::Hit(5),
];
/// Metrics of the ranked pages.
const PAGE_MEASURES: [RankingMeasure; 3] = [RankingMeasure::Hit(1), RankingMeasure::Hit(5), RankingMeasure::Mrr(10)];
/// Cut-off for the list that a request gets: longer than any such list, so that nothing of it is cut off.
const WHOLE_LIST: usize = 100;

/// Computes every metric that the question allows.
pub fn measure_outcome(question: &EvaluationQuestion, outcome: &QuestionOutcome) -> MetricScores {
    let mut scores = MetricScores::new();
    measure_retrieval(question, outcome, &mut scores);
    measure_returned(question, outcome, &mut scores);
    measure_access(question, outcome, &mut scores);
    measure_refusal(question, outcome, &mut scores);
    if outcome.answered {
        measure_citations(question, outcome, &mut scores);
    }
    measure_against_references(question, outcome, &mut scores);
    let times = [
        ("search_ms", Some(outcome.search_ms)),
        ("first_token_ms", outcome.first_ms),
        ("ask_ms", Some(outcome.ask_ms)),
    ];
    for (name, time) in times {
        if let Some(time) = time.filter(|time| *time > 0.0) {
            scores.insert(name.into(), Some(time));
        }
    }
    scores
}

fn measure_retrieval(question: &EvaluationQuestion, outcome: &QuestionOutcome, scores: &mut MetricScores) {
    let mut insert = |name: String, ranking: &RankedGains, measure: RankingMeasure| {
        scores.insert(name, Some(ranking.compute_measure(measure)));
    };
    if let Some(ranking) = document_ranking(question, &outcome.found) {
        for measure in DOCUMENT_MEASURES {
            insert(measure.to_string(), &ranking, measure);
        }
    }
    if let Some(ranking) = page_ranking(question, &outcome.found) {
        for measure in PAGE_MEASURES {
            insert(format!("page_{measure}"), &ranking, measure);
        }
    }
}

/// Measures the list that a request without a limit gets, because readers and models see nothing else.
fn measure_returned(question: &EvaluationQuestion, outcome: &QuestionOutcome, scores: &mut MetricScores) {
    let Some(returned) = &outcome.returned else {
        return;
    };
    let mut insert = |name: &str, ranking: &RankedGains, measure: RankingMeasure| {
        scores.insert(name.into(), Some(ranking.compute_measure(measure)));
    };
    if let Some(ranking) = document_ranking(question, returned) {
        insert("returned_ndcg", &ranking, RankingMeasure::Ndcg(WHOLE_LIST));
        insert("returned_recall", &ranking, RankingMeasure::Recall(WHOLE_LIST));
    }
    if let Some(ranking) = page_ranking(question, returned) {
        insert("returned_page_hit", &ranking, RankingMeasure::Hit(WHOLE_LIST));
    }
}

/// The distinct documents of a list in rank order; `None` if the question names no relevant documents.
fn document_ranking(question: &EvaluationQuestion, list: &[OutcomePassage]) -> Option<RankedGains> {
    let judged: RelevanceJudgments = question.judgments.clone().into_iter().collect();
    let found = distinct_names(list.iter().map(|shown| document_name(question, &shown.uri)));
    (!judged.is_empty()).then(|| RankedGains::from_ordered_ids(found.iter().map(String::as_str), &judged))
}

/// The distinct pages of a list in rank order, all relevant ones counted as one; `None` if the question names no pages.
fn page_ranking(question: &EvaluationQuestion, list: &[OutcomePassage]) -> Option<RankedGains> {
    let found = distinct_names(list.iter().map(|shown| {
        let right = is_gold(question, &shown.uri, shown.page);
        let page = shown.page.unwrap_or_default();
        if right {
            "gold".to_owned()
        } else {
            format!("{}#{page}", shown.uri)
        }
    }));
    let judged = RelevanceJudgments::from([("gold".to_owned(), 1)]);
    (!question.pages.is_empty()).then(|| RankedGains::from_ordered_ids(found.iter().map(String::as_str), &judged))
}

/// Scores 1 if no document that the caller must not see was found, shown or cited, else 0.
fn measure_access(question: &EvaluationQuestion, outcome: &QuestionOutcome, scores: &mut MetricScores) {
    if question.forbidden.is_empty() {
        return;
    }
    let is_forbidden = |uri: &str| question.forbidden.iter().any(|name| matches_name(uri, name));
    let places = outcome.found.iter().chain(&outcome.shown).map(|place| &place.uri);
    let cited = outcome.citations.iter().map(|cited| &cited.uri);
    let leaked = places.chain(cited).any(|uri| is_forbidden(uri));
    scores.insert("access".into(), Some(bool_score(!leaked)));
}

fn measure_refusal(question: &EvaluationQuestion, outcome: &QuestionOutcome, scores: &mut MetricScores) {
    let Some(answerable) = question.is_answerable() else {
        return;
    };
    let mut insert = |name: &str, value: bool| scores.insert(name.into(), Some(bool_score(value)));
    insert("refusal_accuracy", outcome.answered == answerable);
    match answerable {
        true => insert("answered", outcome.answered),
        false => insert("refused", !outcome.answered),
    };
}

fn measure_citations(question: &EvaluationQuestion, outcome: &QuestionOutcome, scores: &mut MetricScores) {
    let mut insert = |name: &str, flags: Vec<bool>| {
        if !flags.is_empty() {
            let held = flags.iter().filter(|flag| **flag).count();
            scores.insert(name.into(), Some(held as f64 / flags.len() as f64));
        }
    };
    insert(
        "citation_coverage",
        outcome.sentences.iter().map(|count| *count > 0).collect(),
    );
    let cited = &outcome.citations;
    insert("verified_quotes", cited.iter().map(|cited| cited.verified).collect());
    if !question.judgments.is_empty() {
        let right = cited.iter().map(|cited| is_gold(question, &cited.uri, cited.page));
        insert("citation_precision", right.collect());
    }
}

/// Takes the best score over the references; refusing an answerable question scores 0.
fn measure_against_references(question: &EvaluationQuestion, outcome: &QuestionOutcome, scores: &mut MetricScores) {
    if question.references.is_empty() || question.is_answerable() == Some(false) {
        return;
    }
    let answer = if outcome.answered { outcome.answer.as_str() } else { "" };
    let f1 = question.references.iter().map(|reference| token_f1(answer, reference));
    scores.insert("token_f1".into(), Some(f1.fold(0.0, f64::max)));
    let holds = question
        .references
        .iter()
        .any(|reference| contains_reference(answer, reference));
    scores.insert("contains_gold".into(), Some(bool_score(holds)));
}

/// Whether a place is relevant: in a relevant document, and on a relevant page if pages are given.
fn is_gold(question: &EvaluationQuestion, uri: &str, page: Option<u32>) -> bool {
    let gold = |name: &String| question.judgments.get(name).is_some_and(|gain| *gain > 0);
    let in_document = question.judgments.is_empty() || gold(&document_name(question, uri));
    in_document && (question.pages.is_empty() || page.is_some_and(|page| question.pages.contains(&page)))
}

/// The name of a document in the set, or its URI if it has none.
fn document_name(question: &EvaluationQuestion, uri: &str) -> String {
    let name = question.judgments.keys().find(|name| matches_name(uri, name));
    name.cloned().unwrap_or_else(|| uri.to_owned())
}

/// Removes duplicates; keeps the order of first occurrence.
fn distinct_names(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeMap::new();
    names.filter(|name| seen.insert(name.clone(), ()).is_none()).collect()
}

fn bool_score(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// Outcomes keep found passages without their texts, which would otherwise be stored for every question.
impl OutcomePassage {
    /// The passage with an empty text.
    pub fn without_text(mut self) -> Self {
        self.text.clear();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::OutcomeCitation;

    fn place(uri: &str, page: u32) -> OutcomePassage {
        OutcomePassage {
            uri: uri.into(),
            page: Some(page),
            text: String::new(),
        }
    }

    fn question() -> EvaluationQuestion {
        EvaluationQuestion {
            references: vec!["1991".into(), "in Oslo".into()],
            judgments: BTreeMap::from([("b.pdf".to_owned(), 1)]),
            pages: vec![2],
            ..EvaluationQuestion::default()
        }
    }

    #[track_caller]
    fn check(question: &EvaluationQuestion, outcome: &QuestionOutcome, expected: &[(&str, Option<f64>)]) {
        let scores = measure_outcome(question, outcome);
        for (name, expected) in expected {
            let found = scores.get(*name).copied().flatten();
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn places_are_found_by_their_last_parts() {
        let outcome = QuestionOutcome {
            found: vec![
                place("file:///x/a.pdf", 1),
                place("file:///x/a.pdf", 2),
                place("file:///x/b.pdf", 1),
                place("file:///x/b.pdf", 2),
            ],
            ..QuestionOutcome::default()
        };
        let expected = [
            ("mrr_10", Some(0.5)),
            ("hit_1", Some(0.0)),
            ("hit_5", Some(1.0)),
            ("recall_10", Some(1.0)),
            ("page_mrr_10", Some(0.25)),
            ("page_hit_5", Some(1.0)),
        ];
        check(&question(), &outcome, &expected);
        let other = EvaluationQuestion {
            judgments: BTreeMap::from([(".pdf".to_owned(), 1)]),
            pages: vec![],
            ..question()
        };
        check(&other, &outcome, &[("hit_5", Some(0.0)), ("page_hit_5", None)]);
    }

    #[test]
    fn the_length_of_the_list_that_is_returned_counts() {
        let list = vec![
            place("file:///x/a.pdf", 1),
            place("file:///x/b.pdf", 1),
            place("file:///x/b.pdf", 2),
        ];
        let returned = |length: usize| QuestionOutcome {
            found: list.clone(),
            returned: Some(list[..length].to_vec()),
            ..QuestionOutcome::default()
        };
        let second = 1.0 / 3.0_f64.log2();
        let expected = |recall: f64, ndcg: f64, page: f64| {
            [
                ("recall_10", Some(1.0)),
                ("returned_recall", Some(recall)),
                ("returned_ndcg", Some(ndcg)),
                ("returned_page_hit", Some(page)),
            ]
        };
        check(&question(), &returned(3), &expected(1.0, second, 1.0));
        check(&question(), &returned(2), &expected(1.0, second, 0.0));
        check(&question(), &returned(1), &expected(0.0, 0.0, 0.0));
        check(&question(), &returned(0), &expected(0.0, 0.0, 0.0));
        check(&question(), &QuestionOutcome::default(), &[("returned_recall", None)]);
    }

    #[test]
    fn what_must_not_be_shown_is_looked_for_in_all_that_was() {
        let question = EvaluationQuestion {
            forbidden: vec!["secret.pdf".into()],
            ..question()
        };
        let found = |uri: &str| QuestionOutcome {
            found: vec![place(uri, 1)],
            ..QuestionOutcome::default()
        };
        let cited = QuestionOutcome {
            citations: vec![OutcomeCitation {
                uri: "file:///x/secret.pdf".into(),
                ..OutcomeCitation::default()
            }],
            ..QuestionOutcome::default()
        };
        let shown = QuestionOutcome {
            shown: vec![place("secret.pdf", 1)],
            ..QuestionOutcome::default()
        };
        check(&question, &found("file:///x/b.pdf"), &[("access", Some(1.0))]);
        check(&question, &found("file:///x/nosecret.pdf"), &[("access", Some(1.0))]);
        for leaks in [found("file:///x/secret.pdf"), cited, shown] {
            check(&question, &leaks, &[("access", Some(0.0))]);
        }
        check(
            &EvaluationQuestion::default(),
            &found("secret.pdf"),
            &[("access", None)],
        );
    }

    #[test]
    fn answers_are_held_against_what_is_known() {
        let outcome = QuestionOutcome {
            answer: "It was in Oslo.".into(),
            answered: true,
            sentences: vec![1, 0],
            citations: vec![
                OutcomeCitation {
                    uri: "b.pdf".into(),
                    page: Some(2),
                    verified: true,
                },
                OutcomeCitation {
                    uri: "b.pdf".into(),
                    page: Some(1),
                    verified: false,
                },
            ],
            ..QuestionOutcome::default()
        };
        let expected = [
            ("refusal_accuracy", Some(1.0)),
            ("answered", Some(1.0)),
            ("refused", None),
            ("citation_coverage", Some(0.5)),
            ("citation_precision", Some(0.5)),
            ("verified_quotes", Some(0.5)),
            ("token_f1", Some(4.0 / 6.0)),
            ("contains_gold", Some(1.0)),
        ];
        check(&question(), &outcome, &expected);
        let refused = QuestionOutcome::default();
        let expected = [
            ("refusal_accuracy", Some(0.0)),
            ("token_f1", Some(0.0)),
            ("citation_coverage", None),
        ];
        check(&question(), &refused, &expected);
        let unanswerable = EvaluationQuestion {
            answerable: Some(false),
            ..EvaluationQuestion::default()
        };
        let expected = [
            ("refused", Some(1.0)),
            ("answered", None),
            ("token_f1", None),
            ("ndcg_10", None),
        ];
        check(&unanswerable, &refused, &expected);
        check(&EvaluationQuestion::default(), &refused, &[("refusal_accuracy", None)]);
    }
}
