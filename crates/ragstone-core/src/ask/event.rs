//! What an answer is made of, and the events in which it arrives.
//!
//! Invariant: a stream of events ends with exactly one `Done` or `AnswerError`; `Sources` comes before the first `Delta`;
//! a citation is verified or does not exist.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::Admitted;
use crate::document::{SourceUrl, TextRange};
use crate::id::{ChunkId, DocumentId, TraceId};
pub use crate::library::Notice;
use crate::library::Passage;
use crate::seam::ChatError;
use crate::seam::chat::TokenUsage;

/// A quoted span of a passage that supports a sentence of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// The sentence it supports, from 0; in a list of all citations the first one.
    pub sentence: usize,
    /// Its number in the answer's text, from 1; the same span has the same number everywhere.
    pub n: usize,
    /// The document.
    pub document_id: DocumentId,
    /// The chunk.
    pub chunk_id: ChunkId,
    /// The document's title.
    pub title: String,
    /// The document's URI.
    pub uri: String,
    /// Where a person can open the document.
    #[serde(default, deserialize_with = "SourceUrl::of_any")]
    pub source_url: Option<SourceUrl>,
    /// From 1; none where the format has no pages.
    pub page: Option<u32>,
    /// The heading path.
    pub section: Option<String>,
    /// Bytes of the document's text that are the quote.
    #[serde(with = "pair")]
    pub range: TextRange,
    /// The text there, read from the store.
    pub quote: String,
    /// Always true: what is not verified is not sent.
    pub verified: bool,
}

/// A sentence of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerSentence {
    /// The sentence without the numbers of its citations.
    pub text: String,
    /// Numbers of the citations that support it.
    pub citations: Vec<usize>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text, citations as ` [n]` behind the sentences.
    pub answer: String,
    /// Whether the documents held an answer: false where the model says they do not, and where no sentence of it
    /// could be verified.
    pub answered: bool,
    /// Its sentences, in order; code blocks are of none.
    pub sentences: Vec<AnswerSentence>,
    /// Its citations by number.
    pub citations: Vec<Citation>,
    /// URIs of the documents whose passages were found, best first.
    pub sources: Vec<String>,
    /// Tokens spent, where the model tells.
    pub usage: TokenUsage,
    /// The model that spoke.
    pub model: String,
    /// Names the question.
    pub trace_id: TraceId,
    /// What its reader should know.
    pub notices: Vec<Notice>,
}

/// What happens while a question is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerEvent {
    /// The passages, before the model has said a word.
    Sources {
        /// Best first; the model numbers them from 1 in this order.
        passages: Arc<[Admitted<Passage>]>,
        /// What was found out while searching.
        notices: Vec<Notice>,
    },
    /// More of the answer.
    Delta {
        /// The text, to be appended.
        text: String,
    },
    /// A verified citation; its number follows in the text.
    Citation(Citation),
    /// The end: the answer as a whole.
    Done(Box<Answer>),
    /// The end without an answer, or without the rest of it.
    Failed {
        /// A stable word, see [`AnswerError`].
        code: String,
        /// What and which.
        detail: String,
    },
}

/// Why a question got no answer, or not the whole of it. Codes: `busy`, `model_busy`, `model_refused`,
/// `model_failed`, `model_not_allowed`, `prompt_too_long`, `withdrawn`, `interrupted`, and those of [`RetrievalError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct AnswerError {
    /// A stable word.
    pub code: String,
    /// What and which.
    pub detail: String,
}

impl AnswerError {
    pub(super) fn new(code: &str, detail: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            detail: detail.into(),
        }
    }
}

/// Why the library gave no evidence, by what the asker can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetrievalError {
    /// Try again.
    #[error("the library is busy: {detail}")]
    Busy {
        /// What it waits for.
        detail: String,
    },
    /// The same question will be refused again.
    #[error("the question was refused: {detail}")]
    Refused {
        /// A stable word.
        code: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Ask by words alone, or try again.
    #[error("the question has no vector: {detail}")]
    NoVector {
        /// What went wrong.
        detail: String,
    },
    /// It did not work, for a reason that may pass.
    #[error("the search failed: {detail}")]
    Broken {
        /// What went wrong.
        detail: String,
    },
}

impl From<RetrievalError> for AnswerError {
    fn from(error: RetrievalError) -> Self {
        let code = match &error {
            RetrievalError::Busy { .. } => "busy",
            RetrievalError::Refused { code, .. } => code,
            RetrievalError::NoVector { .. } => "embedder_unavailable",
            RetrievalError::Broken { .. } => "search_failed",
        };
        Self::new(code, error.to_string())
    }
}

impl From<ChatError> for AnswerError {
    fn from(error: ChatError) -> Self {
        let code = match &error {
            ChatError::Busy { .. } => "model_busy",
            ChatError::Refused { .. } => "model_refused",
            ChatError::Broken { .. } => "model_failed",
        };
        match &error {
            ChatError::Busy { after: Some(after), .. } => {
                let seconds = after.as_secs_f64().ceil();
                Self::new(code, format!("{error}; it asks to wait {seconds} s"))
            }
            _ => Self::new(code, error.to_string()),
        }
    }
}

/// A range as `[start, end]`.
mod pair {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::document::TextRange;

    pub(super) fn serialize<S: Serializer>(range: &TextRange, serializer: S) -> Result<S::Ok, S::Error> {
        [range.start, range.end].serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TextRange, D::Error> {
        <[usize; 2]>::deserialize(deserializer).map(|[start, end]| start..end)
    }
}
