//! The parts of an answer, and the events that stream it.
//!
//! Invariant: a stream of events ends with exactly one `Done` or `Failed`; `Sources` comes before the first `Delta`;
//! a citation that is not verified is never sent.

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
    /// Index of the sentence it supports, from 0; in a list of all citations, the first such sentence.
    pub sentence: usize,
    /// Its number in the answer's text, from 1; equal spans share one number.
    pub n: usize,
    /// Id of the cited document.
    pub document_id: DocumentId,
    /// Id of the cited chunk.
    pub chunk_id: ChunkId,
    /// Title of the document.
    pub title: String,
    /// URI of the document.
    pub uri: String,
    /// Where a person can open the document.
    #[serde(default, deserialize_with = "SourceUrl::of_any")]
    pub source_url: Option<SourceUrl>,
    /// Page of the chunk, from 1; `None` if the format has no pages.
    pub page: Option<u32>,
    /// Heading path of the chunk; `None` outside any section.
    pub section: Option<String>,
    /// Byte range of the quote in the document's extracted text.
    #[serde(with = "pair")]
    pub range: TextRange,
    /// The text at `range`, read from the store.
    pub quote: String,
    /// Always true: a citation that is not verified is not sent.
    pub verified: bool,
}

/// A sentence of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerSentence {
    /// The sentence without the numbers of its citations.
    pub text: String,
    /// Numbers of the citations that support it; empty if none was verified.
    pub citations: Vec<usize>,
}

/// A complete answer, with its citations and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text, with citations as ` [n]` behind the sentences.
    pub answer: String,
    /// Whether the documents contained an answer: false if the model says they do not, or if no sentence could be
    /// verified.
    pub answered: bool,
    /// Its sentences, in order; code blocks belong to none.
    pub sentences: Vec<AnswerSentence>,
    /// Its citations, in the order of their numbers.
    pub citations: Vec<Citation>,
    /// URIs of the documents whose passages were shown to the model, best first, each once.
    pub sources: Vec<String>,
    /// Tokens spent, as far as the model reports them.
    pub usage: TokenUsage,
    /// Name of the model that was used.
    pub model: String,
    /// Id of the question and of everything done to answer it.
    pub trace_id: TraceId,
    /// Notices for the reader of the answer.
    pub notices: Vec<Notice>,
}

/// Events of the stream that answers a question.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerEvent {
    /// The retrieved passages; sent before any text of the answer.
    Sources {
        /// Best first; the prompt numbers them from 1 in this order.
        passages: Arc<[Admitted<Passage>]>,
        /// Notices about the search.
        notices: Vec<Notice>,
    },
    /// The next piece of the answer.
    Delta {
        /// Text to append to the answer.
        text: String,
    },
    /// A verified citation; its number follows in the text.
    Citation(Citation),
    /// Last event: the complete answer.
    Done(Box<Answer>),
    /// Last event: there is no answer, or not the rest of it.
    Failed {
        /// A stable code, see [`AnswerError`].
        code: String,
        /// Describes the error for people.
        detail: String,
    },
}

/// Why a question got no answer, or not the whole of it. Codes: `busy`, `model_busy`, `model_refused`,
/// `model_failed`, `model_not_allowed`, `prompt_too_long`, `withdrawn`, `interrupted`, and those of [`RetrievalError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct AnswerError {
    /// A stable code for programs, one of those above.
    pub code: String,
    /// Describes the error for people.
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

/// Why no passages could be retrieved, by what the caller can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetrievalError {
    /// A store is unavailable for now: try again.
    #[error("the library is busy: {detail}")]
    Busy {
        /// What is unavailable, and why.
        detail: String,
    },
    /// The question is invalid: repeating it fails again.
    #[error("the question was refused: {detail}")]
    Refused {
        /// A stable code, such as `bad_question`.
        code: &'static str,
        /// What is wrong with the question.
        detail: String,
    },
    /// The question could not be embedded: search by words alone, or try again.
    #[error("the question has no vector: {detail}")]
    NoVector {
        /// Why there is no vector.
        detail: String,
    },
    /// The search failed for a reason that may pass.
    #[error("the search failed: {detail}")]
    Broken {
        /// Why the search failed.
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

/// Serialises a range as `[start, end]`.
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
