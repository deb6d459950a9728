//! A question with its options, and the settings that the process adds.

use crate::filter::MetadataFilter;
use crate::id::{CollectionName, TraceId};
use crate::prompt::PromptTemplate;

pub use crate::seam::index::SearchMode as Mode;

/// A question and the caller's options for its answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AskRequest {
    /// The question in the caller's words.
    pub question: String,
    /// Searches only this collection; `None` for all.
    pub collection: Option<CollectionName>,
    /// Searches only documents that match.
    pub filter: Option<MetadataFilter>,
    /// Most passages shown to the model.
    pub limit: usize,
    /// Which legs of the search are used.
    pub mode: Mode,
    /// The caller's wishes for the answer; they never override the rules of the prompt.
    pub instructions: Option<String>,
    /// Another model than the configured one, from the allowed list.
    pub model: Option<String>,
    /// Sampling temperature, 0 to 2; `None` for the configured one.
    pub temperature: Option<f32>,
    /// Language of the answer; `None` for the language of the question.
    pub language: Option<String>,
    /// Most tokens of the answer; `None` for the configured limit.
    pub max_tokens: Option<u32>,
}

/// What the process sets for a question: settings, and values from its clock and random numbers.
#[derive(Debug, Clone)]
pub struct AskOptions {
    /// The text around passages and question.
    pub template: PromptTemplate,
    /// Most tokens of a prompt, even if the model could read more.
    pub prompt_tokens: usize,
    /// The models a request may name beside the configured one.
    pub models: Vec<String>,
    /// Id of this question and of everything done for it.
    pub trace_id: TraceId,
    /// Random token of letters and digits for the tags around passages; fresh for each question and not guessable.
    pub boundary: String,
}
