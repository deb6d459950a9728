//! The chat model: streams an answer to a question from passages.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::access::Admitted;
use crate::library::Passage;

/// Author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageRole {
    /// Instructions of the system, not of the caller.
    System,
    /// The caller's question and the passages, which are data.
    User,
    /// The model's own earlier messages.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Author of the message.
    pub role: MessageRole,
    /// Text of the message.
    pub content: String,
}

/// Request for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The complete prompt, built by `prompt`.
    pub messages: Vec<ChatMessage>,
    /// The question alone, for a model that does not read the prompt.
    pub question: String,
    /// The passages that the prompt numbers from 1, in that order.
    pub passages: Arc<[Admitted<Passage>]>,
    /// A model other than the configured one, from the allowed list.
    pub model: Option<String>,
    /// Sampling temperature, 0 to 2; `None` for the service's default.
    pub temperature: Option<f32>,
    /// Most tokens of the answer; `None` for the service's default.
    pub max_tokens: Option<u32>,
    /// JSON Schema that the reply must match, for services that support structured output.
    pub reply_schema: Option<serde_json::Value>,
}

/// Event of a streamed answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// More text of the answer; a citation `[n]` follows the statement that it supports.
    Delta(String),
    /// A sentence that is copied from a passage, as a byte range of the passage's text. Sent by the extractive model;
    /// it is verified like any other quote.
    Quote {
        /// Number of the passage, from 1.
        passage: usize,
        /// Byte range in the passage's text.
        range: std::ops::Range<usize>,
    },
    /// Tokens used; sent at most once.
    Usage(TokenUsage),
    /// End of the answer; nothing follows.
    End(FinishReason),
}

/// Why the answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model finished the answer.
    Stop,
    /// The token limit was reached.
    Length,
    /// The model found no answer in the passages.
    NoAnswer,
    /// The service's content filter withheld the rest.
    Filtered,
    /// The service ended the answer for another reason, given in its own words.
    Interrupted(String),
}

/// Number of tokens used by a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
}

/// Properties of a chat model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatDescription {
    /// Name of the model; `extractive` if there is no language model.
    pub model: String,
    /// Address that prompts are sent to; `None` if they stay in the process.
    pub endpoint: Option<String>,
    /// Whether the model quotes scored sentences of passages, which the caller must then provide.
    pub quotes_sentences: bool,
    /// Context window in tokens, prompt and answer together.
    pub context_tokens: usize,
}

/// Error of a chat model, before or during an answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChatError {
    /// Overloaded: retry, not before `after` if given.
    #[error("the model is busy: {detail}")]
    Busy {
        /// Message of the service.
        detail: String,
        /// `Retry-After`, if the service sent it.
        after: Option<Duration>,
    },
    /// The same request would be refused again.
    #[error("the model refused: {detail}")]
    Refused {
        /// Message of the service.
        detail: String,
    },
    /// A failure that may pass.
    #[error("the model failed: {detail}")]
    Broken {
        /// Cause of the failure.
        detail: String,
    },
}

/// Answers questions from passages.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Name, endpoint and limits of the model.
    fn model_description(&self) -> ChatDescription;

    /// Starts an answer. Retries happen only before the first event; dropping the stream cancels the upstream request.
    async fn stream_reply(
        &self,
        request: ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatEvent, ChatError>>, ChatError>;
}
