//! Settings of evaluation and of feedback.

use serde::Deserialize;

use super::SecretSetting;

/// The `[eval]` section: the model that judges answers, and what it judges.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// Name of the judge model; empty means no judge.
    pub judge_model: String,
    /// URL of the judge's service; empty means that of `[openai]`.
    pub judge_base_url: String,
    /// Key of the judge's service; not set means that of `[openai]`, unless `judge_base_url` is set.
    pub judge_api_key: SecretSetting,
    /// RAGAS metrics that the judge measures, by name.
    pub metrics: Vec<String>,
}

/// The `[feedback]` section: ratings of answers, and how long answers are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackSection {
    /// Minutes in which the asker can rate an answer, 0 to 43200.
    pub remember_minutes: u64,
    /// Whether every question and answer is kept in the catalogue, rated or not.
    pub keep_all: bool,
    /// Days after which a kept answer is deleted, 0 to 36500; 0 keeps them.
    pub retention_days: u32,
    /// Most kept answers of a tenant, 1 to 100000000; the oldest are deleted first.
    pub max_answers: u64,
}
