//! Settings of evaluation and of feedback.

use serde::Deserialize;

use super::SecretSetting;

/// `[eval]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// Who judges; empty for nobody.
    pub judge_model: String,
    /// Another service than `[openai]`.
    pub judge_base_url: String,
    /// Its key.
    pub judge_api_key: SecretSetting,
    /// What is judged.
    pub metrics: Vec<String>,
}

/// `[feedback]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackSection {
    /// Minutes in which something can be said of an answer.
    pub remember_minutes: u64,
    /// Whether every answer is kept.
    pub keep_all: bool,
    /// Days after which a kept answer is forgotten; 0 for never.
    pub retention_days: u32,
    /// Most kept answers of a tenant.
    pub max_answers: u64,
}
