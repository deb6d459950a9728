//! Outcome of a question: what the product found, showed and answered.

use serde::{Deserialize, Serialize};

use super::summary::MetricScores;

/// A passage that was found or shown to the model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OutcomePassage {
    /// URI of the document.
    pub uri: String,
    /// Page number, from 1; `None` for formats without pages.
    pub page: Option<u32>,
    /// Text of the passage; empty where it is not stored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// A citation in the answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OutcomeCitation {
    /// URI of the cited document.
    pub uri: String,
    /// Page number, from 1; `None` for formats without pages.
    pub page: Option<u32>,
    /// Whether the server found the quote in the stored text.
    pub verified: bool,
}

/// Outcome of a question with its scores.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QuestionOutcome {
    /// Text of the question.
    #[serde(default)]
    pub question: String,
    /// Results of the search, best first, without texts.
    pub found: Vec<OutcomePassage>,
    /// Results of a request without a limit, best first, without texts; `None` if that was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Vec<OutcomePassage>>,
    /// Passages that the model got, best first.
    pub shown: Vec<OutcomePassage>,
    /// Score of the best passage that the model got; it decides whether the question is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// Text of the answer without citation markers.
    pub answer: String,
    /// Whether the question was answered; false for a refusal.
    pub answered: bool,
    /// Number of citations of each sentence.
    pub sentences: Vec<usize>,
    /// Citations of the answer.
    pub citations: Vec<OutcomeCitation>,
    /// Duration of the search in milliseconds.
    pub search_ms: f64,
    /// Milliseconds to the first text of the answer; `None` if there was none.
    pub first_ms: Option<f64>,
    /// Milliseconds to the end of the answer.
    pub ask_ms: f64,
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// Scores by metric, measured and judged.
    pub scores: MetricScores,
    /// Judged metrics without a score, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unjudged: Vec<(String, String)>,
}
