//! What is asked, and what the process sets for it.

use crate::filter::MetadataFilter;
use crate::id::{CollectionName, TraceId};
use crate::prompt::PromptTemplate;

pub use crate::seam::index::SearchMode as Mode;

/// A question and what its asker wants of the answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AskRequest {
    /// The question.
    pub question: String,
    /// Only this collection.
    pub collection: Option<CollectionName>,
    /// Only documents that pass.
    pub filter: Option<MetadataFilter>,
    /// Passages shown to the model.
    pub limit: usize,
    /// Which legs search.
    pub mode: Mode,
    /// Wishes for the answer, beside the rules.
    pub instructions: Option<String>,
    /// Another model than the configured one, from the allowed list.
    pub model: Option<String>,
    /// 0 to 2.
    pub temperature: Option<f32>,
    /// The language of the answer; none for the question's own.
    pub language: Option<String>,
    /// Most tokens of the answer.
    pub max_tokens: Option<u32>,
}

/// What the process sets for a question: settings, and values from its clock and random numbers.
#[derive(Debug, Clone)]
pub struct AskOptions {
    /// The text around passages and question.
    pub template: PromptTemplate,
    /// Most tokens of a prompt, also where the model could read more.
    pub prompt_tokens: usize,
    /// The models a request may name beside the configured one.
    pub models: Vec<String>,
    /// Names this question and everything done for it.
    pub trace_id: TraceId,
    /// A fresh token that nobody can guess, letters and digits, for the tags around passages.
    pub boundary: String,
}
