//! Passages and a question to an answer, streamed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::access::Admitted;
use crate::library::Passage;

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageRole {
    /// The rules.
    System,
    /// The caller, and the passages as data.
    User,
    /// The model, earlier in the conversation.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who says it.
    pub role: MessageRole,
    /// What is said.
    pub content: String,
}

/// What a model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The prompt, made by `prompt`.
    pub messages: Vec<ChatMessage>,
    /// The question alone, for a model that reads no prompt.
    pub question: String,
    /// The passages that the prompt numbers from 1, in that order.
    pub passages: Arc<[Admitted<Passage>]>,
    /// Another model than the configured one, from the allowed list.
    pub model: Option<String>,
    /// 0 to 2.
    pub temperature: Option<f32>,
    /// Most tokens of an answer.
    pub max_tokens: Option<u32>,
    /// The JSON Schema that a reply must fit, for services that can hold a model to one.
    pub reply_schema: Option<serde_json::Value>,
}

/// What a model streams.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// More of the answer; citations are written `[n]` behind what they support.
    Delta(String),
    /// A sentence whose quote the model gives itself: byte range of the passage's text.
    /// For models that copy (the extractive one); it is verified as any other.
    Quote {
        /// The passage, from 1.
        passage: usize,
        /// Where in the passage's text.
        range: std::ops::Range<usize>,
    },
    /// What was spent; at most once.
    Usage(TokenUsage),
    /// The end; nothing follows.
    End(FinishReason),
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said everything.
    Stop,
    /// The limit of tokens.
    Length,
    /// The model found that the passages hold no answer.
    NoAnswer,
    /// The service withheld the rest.
    Filtered,
    /// The service ended it for another reason, in its own word.
    Interrupted(String),
}

/// Tokens spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// What a chat model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatDescription {
    /// The model's name, `extractive` for none.
    pub model: String,
    /// Where the text of prompts goes; none where it stays in the process.
    pub endpoint: Option<String>,
    /// Whether it quotes the scored sentences of passages, and so wants them.
    pub quotes_sentences: bool,
    /// Tokens the model can read, prompt and answer together.
    pub context_tokens: usize,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChatError {
    /// Try again, not before `after` if given.
    #[error("the model is busy: {detail}")]
    Busy {
        /// What it said.
        detail: String,
        /// When to come back.
        after: Option<Duration>,
    },
    /// The same request will be refused again.
    #[error("the model refused: {detail}")]
    Refused {
        /// What it said.
        detail: String,
    },
    /// It did not work, for a reason that may pass.
    #[error("the model failed: {detail}")]
    Broken {
        /// What went wrong.
        detail: String,
    },
}

/// Passages and a question to an answer.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// What it is and where text goes.
    fn model_description(&self) -> ChatDescription;

    /// Starts an answer. Retries happen only before the first event; dropping the stream ends the upstream call.
    async fn stream_reply(
        &self,
        request: ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatEvent, ChatError>>, ChatError>;
}
