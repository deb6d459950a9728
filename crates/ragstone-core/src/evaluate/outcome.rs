//! What the product made of a question.

use serde::{Deserialize, Serialize};

use super::summary::MetricScores;

/// A passage that was found or shown.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OutcomePassage {
    /// Of which document.
    pub uri: String,
    /// On which page, from 1.
    pub page: Option<u32>,
    /// What it says; empty where that is not kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// A citation of the answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OutcomeCitation {
    /// Its document.
    pub uri: String,
    /// Its page, from 1.
    pub page: Option<u32>,
    /// Whether the server read the quote again and found it.
    pub verified: bool,
}

/// What the product made of a question, and how good that was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QuestionOutcome {
    /// What was asked.
    #[serde(default)]
    pub question: String,
    /// What a search found, best first, without texts.
    pub found: Vec<OutcomePassage>,
    /// What a request that names no limit gets, best first, without texts; none where that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Vec<OutcomePassage>>,
    /// What the model was shown, best first.
    pub shown: Vec<OutcomePassage>,
    /// The score of the best passage that was shown, which decides whether there is an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// The answer without its markers.
    pub answer: String,
    /// Whether it is one.
    pub answered: bool,
    /// How many citations each sentence has.
    pub sentences: Vec<usize>,
    /// The citations.
    pub citations: Vec<OutcomeCitation>,
    /// Milliseconds of the search.
    pub search_ms: f64,
    /// Milliseconds to the answer's first text, if there was any.
    pub first_ms: Option<f64>,
    /// Milliseconds to the answer's end.
    pub ask_ms: f64,
    /// Tokens that the chat model read.
    pub prompt_tokens: u64,
    /// Tokens that it wrote.
    pub completion_tokens: u64,
    /// What was measured and judged.
    pub scores: MetricScores,
    /// Why a judged metric has no score, by metric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unjudged: Vec<(String, String)>,
}
