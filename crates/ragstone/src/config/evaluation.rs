//! Settings of evaluation and of feedback.

use serde::Deserialize;

use super::Secret;

/// `[eval]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eval {
    /// Who judges; empty for nobody.
    pub judge_model: String,
    /// Another service than `[openai]`.
    pub judge_base_url: String,
    /// Its key.
    pub judge_api_key: Secret,
    /// What is judged.
    pub metrics: Vec<String>,
}
