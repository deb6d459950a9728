//! Sets of questions: our own JSON lines format, or the queries and judgments of a BEIR folder.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::access::Role;
use crate::metric::trec::{TrecError, parse_qrels};

/// A question and what is known about its answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationQuestion {
    /// Id, unique within the set.
    pub id: String,
    /// Text of the question.
    pub question: String,
    /// Correct answers, best first; empty if none is known.
    pub references: Vec<String>,
    /// Gains of the relevant documents, by URI or by its last path segments.
    pub judgments: BTreeMap<String, i64>,
    /// Pages that contain the answer, from 1.
    pub pages: Vec<u32>,
    /// Whether the documents contain an answer; `None` if unknown.
    pub answerable: Option<bool>,
    /// The caller who asks; `None` for the caller who runs the set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<QuestionCaller>,
    /// Documents that this caller must not see, by URI or by its last path segments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<String>,
    /// Whether the question is a draft that nobody has reviewed yet.
    #[serde(skip_serializing_if = "is_false")]
    pub draft: bool,
}

/// Identity of the caller who asks a question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionCaller {
    /// Tenant; `None` for the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// User id of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Departments of the person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departments: Vec<String>,
    /// Groups of the person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Role; `None` for `reader`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Error in a set of questions; lines count from 1.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SetError {
    /// A line is not a valid question.
    #[error("line {line}: {detail}")]
    Line {
        /// Line number of the error.
        line: usize,
        /// What is wrong with the line.
        detail: String,
    },
    /// Two questions have the same id.
    #[error("line {line}: question {id:?} occurs twice")]
    Repeated {
        /// Line number of the second question.
        line: usize,
        /// The id that occurs twice.
        id: String,
    },
    /// The judgments of a BEIR folder are invalid.
    #[error("judgments: {0}")]
    Judgments(#[from] TrecError),
    /// The set contains no questions.
    #[error("it holds no question")]
    Empty,
}

/// A line of the file. The aliases `file`, `doc`, `page`, `answer`, `answers` and `answer_key` are the names that other
/// sets use for the same fields.
#[derive(Deserialize)]
struct QuestionLine {
    #[serde(alias = "_id")]
    id: Value,
    #[serde(alias = "text", alias = "query")]
    question: String,
    #[serde(alias = "answer", alias = "answer_key")]
    reference: Option<String>,
    #[serde(default, alias = "answers")]
    references: Vec<String>,
    #[serde(default)]
    documents: Vec<String>,
    #[serde(alias = "file", alias = "doc")]
    document: Option<String>,
    #[serde(default)]
    pages: Vec<u32>,
    page: Option<u32>,
    answerable: Option<bool>,
    caller: Option<QuestionCaller>,
    #[serde(default)]
    forbidden: Vec<String>,
    #[serde(default)]
    draft: bool,
}

impl QuestionLine {
    fn into_question(self) -> Result<EvaluationQuestion, String> {
        let id = match self.id {
            Value::String(id) => id,
            Value::Number(id) => id.to_string(),
            _ => return Err("id is neither a string nor a number".into()),
        };
        if self.question.trim().is_empty() {
            return Err("the question is empty".into());
        }
        let documents = self.documents.into_iter().chain(self.document);
        Ok(EvaluationQuestion {
            id,
            question: self.question,
            references: self.reference.into_iter().chain(self.references).collect(),
            judgments: documents.map(|document| (document, 1)).collect(),
            pages: self.pages.into_iter().chain(self.page).collect(),
            answerable: self.answerable,
            caller: self.caller,
            forbidden: self.forbidden,
            draft: self.draft,
        })
    }
}

impl EvaluationQuestion {
    /// Whether the documents contain an answer: as stated by the set, else true if it gives an answer or relevant
    /// documents.
    pub fn is_answerable(&self) -> Option<bool> {
        let known = !self.references.is_empty() || !self.judgments.is_empty();
        self.answerable.or(known.then_some(true))
    }
}

/// Parses a set in JSON lines; empty lines are skipped.
///
/// # Errors
/// [`SetError`] names the first invalid line.
pub fn parse_jsonl(text: &str) -> Result<Vec<EvaluationQuestion>, SetError> {
    let mut ids = HashSet::new();
    let mut questions = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        let parsed = serde_json::from_str::<QuestionLine>(content).map_err(|error| error.to_string());
        let question = parsed
            .and_then(QuestionLine::into_question)
            .map_err(|detail| SetError::Line { line, detail })?;
        if !ids.insert(question.id.clone()) {
            return Err(SetError::Repeated { line, id: question.id });
        }
        questions.push(question);
    }
    match questions.is_empty() {
        true => Err(SetError::Empty),
        false => Ok(questions),
    }
}

/// Parses `queries.jsonl` and the judgments of one split of a BEIR folder; queries without judgments are left out.
///
/// # Errors
/// [`SetError`] says what is invalid.
pub fn parse_beir(queries: &str, judgments: &str) -> Result<Vec<EvaluationQuestion>, SetError> {
    let mut judged = parse_qrels(judgments)?;
    let mut questions = parse_jsonl(queries)?;
    questions.retain_mut(|question| {
        let known = judged.remove(&question.id);
        question.judgments = known.iter().flatten().map(|(id, gain)| (id.clone(), *gain)).collect();
        known.is_some()
    });
    match questions.is_empty() {
        true => Err(SetError::Empty),
        false => Ok(questions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_questions() {
        let set = parse_jsonl(concat!(
            r#"{"id": "1", "question": "q", "reference": "r", "documents": ["a"], "pages": [2], "answerable": true}"#,
            "\n\n",
            r#"{"id": 2, "question": "q", "file": "b.pdf", "page": 3, "answers": ["x", "y"], "kind": "lookup"}"#,
            "\n",
            r#"{"id": "3", "question": "q", "answerable": false}"#,
            "\n",
            r#"{"id": "4", "question": "q"}"#,
        ))
        .unwrap();
        assert_eq!(
            (set[0].references.as_slice(), set[0].pages.as_slice()),
            (&["r".to_owned()][..], &[2][..])
        );
        assert_eq!(set[1].judgments, BTreeMap::from([("b.pdf".to_owned(), 1)]));
        assert_eq!(
            (set[1].id.as_str(), set[1].references.len(), set[1].pages[0]),
            ("2", 2, 3)
        );
        let answerable: Vec<_> = set.iter().map(EvaluationQuestion::is_answerable).collect();
        assert_eq!(answerable, [Some(true), Some(true), Some(false), None]);
    }

    #[test]
    fn a_question_may_name_who_asks_and_what_must_not_be_shown() {
        let set = parse_jsonl(concat!(
            r#"{"id": 1, "question": "q", "caller": {"user": "ann", "groups": ["lab"]}, "forbidden": ["b"]}"#,
            "\n",
            r#"{"id": 2, "question": "q", "draft": true, "caller": {"role": "admin", "tenant": "acme"}}"#,
        ))
        .unwrap();
        let caller = set[0].caller.as_ref().unwrap();
        assert_eq!(
            (caller.user.as_deref(), caller.groups.as_slice()),
            (Some("ann"), &["lab".to_owned()][..])
        );
        assert_eq!(
            (set[0].forbidden.as_slice(), set[0].draft),
            (&["b".to_owned()][..], false)
        );
        assert_eq!(
            (set[1].caller.as_ref().unwrap().role, set[1].draft),
            (Some(Role::Admin), true)
        );
        // A set without the optional fields keeps its fingerprint: they are not serialised.
        let plain = serde_json::to_value(EvaluationQuestion::default()).unwrap();
        assert_eq!(plain.as_object().unwrap().len(), 6, "{plain}");
    }

    #[test]
    fn wrong_sets_are_refused() {
        let check = |text: &str, expected: &str| {
            let error = parse_jsonl(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check("", "it holds no question");
        check("\n{", "line 2: ");
        check(r#"{"id": "1"}"#, "line 1: missing field `question`");
        check(r#"{"id": "1", "question": " "}"#, "line 1: the question is empty");
        check(r#"{"id": null, "question": "q"}"#, "line 1: id is neither");
        check(
            r#"{"id": 1, "question": "q", "caller": {"name": "ann"}}"#,
            "line 1: unknown field",
        );
        check(
            r#"{"id": 1, "question": "q", "caller": {"role": "boss"}}"#,
            "line 1: unknown variant",
        );
        let twice = "{\"id\": 1, \"question\": \"q\"}\n{\"id\": \"1\", \"question\": \"q\"}";
        check(twice, "line 2: question \"1\" occurs twice");
    }

    #[test]
    fn a_beir_split_has_the_judged_queries() {
        let queries = "{\"_id\": \"1\", \"text\": \"q\"}\n{\"_id\": \"2\", \"text\": \"p\"}\n";
        let set = parse_beir(queries, "query-id\tcorpus-id\tscore\n2\td\t2\n2\te\t0\n").unwrap();
        assert_eq!((set.len(), set[0].question.as_str()), (1, "p"));
        assert_eq!(set[0].judgments["d"], 2);
        assert_eq!(parse_beir(queries, "3 0 d 1\n"), Err(SetError::Empty));
        assert!(parse_beir(queries, "1 0 d x\n").is_err());
    }
}
