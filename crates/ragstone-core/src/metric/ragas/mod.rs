//! Answer metrics as RAGAS 0.4.3 defines them: formulas, prompts for the judge, and the parsing of its replies.
//!
//! RAGAS has two implementations that agree normally and differ in edge cases. Live runs use [`RagasApi::Legacy`],
//! which nearly all published figures come from; [`RagasApi::Collections`] exists so that recorded replies can be
//! scored by both.
//!
//! Invariant: a judge is called only through [`Judge`]; equal replies give equal scores.

mod answer_correctness;
mod context_precision;
mod context_recall;
mod factual_correctness;
mod faithfulness;
mod identifiers;
mod judge;
mod noise_sensitivity;
mod prompt;
mod replay;
mod reply;
mod response_relevancy;
mod semantic_similarity;
mod statements;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

pub use judge::{Judge, JudgeCall, JudgeCallKind, JudgeError};
pub use prompt::{build_judge_prompt, judge_reply_schema};
pub use replay::{ReplayError, ReplayedScore, replay_recordings};
pub use reply::is_readable_reply;

/// Which of RAGAS's implementations to follow where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RagasApi {
    /// `ragas.metrics.*`: values are coerced, and an invalid reply is repaired once.
    Legacy,
    /// `ragas.metrics.collections.*`: types are strict, and a call is tried three times.
    Collections,
}

/// An answer metric that RAGAS defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RagasMetric {
    /// Share of the answer's statements that the contexts support.
    Faithfulness,
    /// Similarity between the question and questions that the judge generates from the answer.
    #[serde(alias = "response_relevancy")]
    AnswerRelevancy,
    /// Whether useful contexts are ranked first; usefulness is judged against the reference.
    #[serde(alias = "context_precision")]
    ContextPrecisionWithReference,
    /// Whether useful contexts are ranked first; usefulness is judged against the answer.
    #[serde(alias = "context_utilization")]
    ContextPrecisionWithoutReference,
    /// Share of the reference that the contexts support.
    ContextRecall,
    /// Agreement of answer and reference, by statements and by similarity.
    AnswerCorrectness,
    /// Agreement of the claims of answer and reference.
    FactualCorrectness,
    /// Share of the answer's statements that are wrong although a context supports them; lower is better.
    NoiseSensitivity,
    /// Cosine similarity of answer and reference.
    SemanticSimilarity,
    /// Share of the retrieved ids that are reference ids.
    IdBasedContextPrecision,
    /// Share of the reference ids that were retrieved.
    IdBasedContextRecall,
}

/// Input of a metric; which fields are required depends on the metric.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RagasSample {
    /// Text of the question.
    pub user_input: Option<String>,
    /// Answer of the evaluated system.
    pub response: Option<String>,
    /// Correct answer (ground truth).
    pub reference: Option<String>,
    /// Texts of the retrieved passages, best first.
    pub retrieved_contexts: Option<Vec<String>>,
    /// Ids of the retrieved passages: strings or numbers, compared as strings.
    pub retrieved_context_ids: Option<Vec<Value>>,
    /// Ids of the passages that should have been retrieved, compared likewise.
    pub reference_context_ids: Option<Vec<Value>>,
}

/// Parameters of a metric; `None` means RAGAS's default, given with each field.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricParameters {
    /// Number of questions generated for answer relevancy; default 3.
    pub strictness: Option<usize>,
    /// Weights of facts and similarity in answer correctness; default 0.75 and 0.25.
    pub weights: Option<[f64; 2]>,
    /// Weight of recall relative to precision in the F score; default 1.
    pub beta: Option<f64>,
    /// Factual correctness: `f1` (default), `precision` or `recall`. Noise sensitivity: `relevant` (default) or
    /// `irrelevant`.
    pub mode: Option<String>,
    /// If set, semantic similarity is 1 from this cosine on, else 0.
    pub threshold: Option<f64>,
}

/// Why there is no score. RAGAS raises an exception in these cases, which its evaluation turns into NaN.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RagasError {
    /// The sample lacks a field that the metric needs.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A parameter has a value that the metric does not support.
    #[error("parameter {name}: {value:?} is not known")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// The value that is not supported.
        value: String,
    },
    /// The judge's reply is invalid, also after repair or retries.
    #[error("the judge's reply about {kind} cannot be read: {detail}")]
    Malformed {
        /// Kind of the call to the judge.
        kind: &'static str,
        /// What is wrong with the reply.
        detail: String,
    },
    /// Each reply is valid, but together they give no score.
    #[error("{0}")]
    Unscorable(&'static str),
    /// The judge gave no reply.
    #[error(transparent)]
    Judge(#[from] JudgeError),
}

/// Computes the score of `sample`; NaN where RAGAS gives NaN.
///
/// # Errors
/// [`RagasError`] where RAGAS raises an exception.
pub async fn score_sample(
    metric: RagasMetric,
    api: RagasApi,
    sample: &RagasSample,
    parameters: &MetricParameters,
    judge: &dyn Judge,
) -> Result<f64, RagasError> {
    let asking = judge::JudgeClient { judge, api };
    match metric {
        RagasMetric::Faithfulness => faithfulness::score_faithfulness(asking, sample).await,
        RagasMetric::AnswerRelevancy => response_relevancy::score_response_relevancy(asking, sample, parameters).await,
        RagasMetric::ContextPrecisionWithReference => {
            context_precision::score_context_precision(asking, sample, sample.require_reference()?).await
        }
        RagasMetric::ContextPrecisionWithoutReference => {
            context_precision::score_context_precision(asking, sample, sample.require_response()?).await
        }
        RagasMetric::ContextRecall => context_recall::score_context_recall(asking, sample).await,
        RagasMetric::AnswerCorrectness => {
            answer_correctness::score_answer_correctness(asking, sample, parameters).await
        }
        RagasMetric::FactualCorrectness => {
            factual_correctness::score_factual_correctness(asking, sample, parameters).await
        }
        RagasMetric::NoiseSensitivity => noise_sensitivity::score_noise_sensitivity(asking, sample, parameters).await,
        RagasMetric::SemanticSimilarity => {
            semantic_similarity::score_semantic_similarity(asking, sample, parameters).await
        }
        RagasMetric::IdBasedContextPrecision => identifiers::id_precision(sample),
        RagasMetric::IdBasedContextRecall => identifiers::id_recall(sample),
    }
}

impl RagasMetric {
    /// The metric with this name or alias; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(Value::from(name)).ok()
    }

    /// Whether a higher score is better.
    pub fn is_better_higher(self) -> bool {
        self != RagasMetric::NoiseSensitivity
    }

    /// Name in recorded cases and reports.
    pub fn name(self) -> &'static str {
        match self {
            RagasMetric::Faithfulness => "faithfulness",
            RagasMetric::AnswerRelevancy => "answer_relevancy",
            RagasMetric::ContextPrecisionWithReference => "context_precision_with_reference",
            RagasMetric::ContextPrecisionWithoutReference => "context_precision_without_reference",
            RagasMetric::ContextRecall => "context_recall",
            RagasMetric::AnswerCorrectness => "answer_correctness",
            RagasMetric::FactualCorrectness => "factual_correctness",
            RagasMetric::NoiseSensitivity => "noise_sensitivity",
            RagasMetric::SemanticSimilarity => "semantic_similarity",
            RagasMetric::IdBasedContextPrecision => "id_based_context_precision",
            RagasMetric::IdBasedContextRecall => "id_based_context_recall",
        }
    }
}

impl RagasSample {
    fn require_user_input(&self) -> Result<&str, RagasError> {
        self.user_input.as_deref().ok_or(RagasError::Missing("user_input"))
    }

    fn require_response(&self) -> Result<&str, RagasError> {
        self.response.as_deref().ok_or(RagasError::Missing("response"))
    }

    fn require_reference(&self) -> Result<&str, RagasError> {
        self.reference.as_deref().ok_or(RagasError::Missing("reference"))
    }

    /// The contexts; the collections implementation treats an empty list as missing.
    fn require_contexts(&self, api: RagasApi) -> Result<&[String], RagasError> {
        let contexts = self.retrieved_contexts.as_deref();
        let usable = contexts.filter(|contexts| api == RagasApi::Legacy || !contexts.is_empty());
        usable.ok_or(RagasError::Missing("retrieved_contexts"))
    }
}

/// F score of `right`, `wrong` and `missing` items (tp, fp, fn): (1+β²)·P·R / (β²·P + R); 0 if the denominator is 0.
fn f_beta(right: usize, wrong: usize, missing: usize, beta: f64) -> f64 {
    let share = |of: usize| if of > 0 { right as f64 / of as f64 } else { 0.0 };
    let (precision, recall) = (share(right + wrong), share(right + missing));
    let weight = beta * beta;
    let denominator = weight * precision + recall;
    match denominator > 0.0 {
        true => (1.0 + weight) * precision * recall / denominator,
        false => 0.0,
    }
}

/// The mean; NaN if there are no values.
fn mean_or_nan(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests;
