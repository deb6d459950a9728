//! Answer metrics as RAGAS 0.4.3 defines them: formulas, the questions put to a judge, and the reading of its replies.
//!
//! RAGAS has two implementations that agree on the normal path and differ at the edges. Live runs use [`RagasApi::Legacy`],
//! which nearly all published figures come from; [`RagasApi::Collections`] is here so that recorded replies score as either.
//!
//! Invariant: nothing is asked but through [`Judge`]; equal replies give equal scores.

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

/// Which of RAGAS's implementations is followed where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RagasApi {
    /// `ragas.metrics.*`: values are coerced, a reply that does not fit is repaired once.
    Legacy,
    /// `ragas.metrics.collections.*`: types are strict, a call is tried three times.
    Collections,
}

/// What is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RagasMetric {
    /// Share of the answer's statements that the contexts support.
    Faithfulness,
    /// How near the questions that the answer would fit are to the one that was asked.
    #[serde(alias = "response_relevancy")]
    AnswerRelevancy,
    /// Whether useful contexts stand first, judged against the reference.
    #[serde(alias = "context_precision")]
    ContextPrecisionWithReference,
    /// The same judged against the answer.
    #[serde(alias = "context_utilization")]
    ContextPrecisionWithoutReference,
    /// Share of the reference that the contexts hold.
    ContextRecall,
    /// Agreement of answer and reference in facts and in meaning.
    AnswerCorrectness,
    /// Agreement of the claims of answer and reference.
    FactualCorrectness,
    /// Share of the answer's statements that are wrong although a context says so; lower is better.
    NoiseSensitivity,
    /// Cosine of answer and reference.
    SemanticSimilarity,
    /// Share of the retrieved ids that are reference ids.
    IdBasedContextPrecision,
    /// Share of the reference ids that were retrieved.
    IdBasedContextRecall,
}

/// What a metric looks at; which fields it needs depends on the metric.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RagasSample {
    /// The question.
    pub user_input: Option<String>,
    /// The system's answer.
    pub response: Option<String>,
    /// The gold answer.
    pub reference: Option<String>,
    /// What was retrieved, best first.
    pub retrieved_contexts: Option<Vec<String>>,
    /// Ids of what was retrieved: strings or numbers, compared as strings.
    pub retrieved_context_ids: Option<Vec<Value>>,
    /// Ids of what should have been.
    pub reference_context_ids: Option<Vec<Value>>,
}

/// How a metric is computed; none means RAGAS's default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricParameters {
    /// Questions generated for answer relevancy; 3.
    pub strictness: Option<usize>,
    /// Weights of facts and similarity in answer correctness; 0.75 and 0.25.
    pub weights: Option<[f64; 2]>,
    /// Weight of recall against precision; 1.
    pub beta: Option<f64>,
    /// `f1`, `precision`, `recall` for factual correctness; `relevant`, `irrelevant` for noise sensitivity.
    pub mode: Option<String>,
    /// Similarity from which on semantic similarity is 1, else 0.
    pub threshold: Option<f64>,
}

/// Why there is no score; RAGAS raises an exception there, which its evaluation turns into NaN.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RagasError {
    /// The sample lacks what the metric needs.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A parameter that the metric does not know.
    #[error("parameter {name}: {value:?} is not known")]
    Parameter {
        /// Which.
        name: &'static str,
        /// What it said.
        value: String,
    },
    /// The judge's reply is not what was asked for, however often it was asked.
    #[error("the judge's reply about {kind} cannot be read: {detail}")]
    Malformed {
        /// What was asked.
        kind: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The replies fit each by itself and not together.
    #[error("{0}")]
    Unscorable(&'static str),
    /// The judge gave no reply.
    #[error(transparent)]
    Judge(#[from] JudgeError),
}

/// The score of `sample`; NaN where RAGAS gives NaN.
///
/// # Errors
/// [`RagasError`] where RAGAS raises.
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
    /// The metric of a name, or of another name that it goes by.
    pub fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(Value::from(name)).ok()
    }

    /// Whether more is better.
    pub fn is_better_higher(self) -> bool {
        self != RagasMetric::NoiseSensitivity
    }

    /// The name in recorded cases and reports.
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

    /// The contexts; collections takes an empty list for a missing one.
    fn require_contexts(&self, api: RagasApi) -> Result<&[String], RagasError> {
        let contexts = self.retrieved_contexts.as_deref();
        let usable = contexts.filter(|contexts| api == RagasApi::Legacy || !contexts.is_empty());
        usable.ok_or(RagasError::Missing("retrieved_contexts"))
    }
}

/// F of `tp` right ones, `fp` wrong ones and `fn` missing ones: (1+β²)·P·R / (β²·P + R), 0 for an empty denominator.
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

/// The mean; NaN of nothing.
fn mean_or_nan(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests;
