//! Chat completions of any OpenAI-compatible service, streamed.
//!
//! Invariant: a request is retried only before its reply has begun; dropping the stream closes the connection; a
//! truncated reply is an error and never looks like a finished answer; a model's thoughts are never returned.

mod dialect;
mod reply;
mod stream;
mod thoughts;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use ragstone_core::seam::chat::{ChatDescription, ChatEvent, ChatMessage, ChatRequest};
use ragstone_core::seam::{ChatError, ChatModel};
use reqwest::Response;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::openai::{ConnectionError, OpenAiClient, OpenAiConnection, ServiceError};
use dialect::{ApiDialect, TokenLimitField};
use thoughts::ModelThoughtMarkings;

/// Parameter name for the token limit of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenLimitName {
    /// `max_completion_tokens` for OpenAI's own service, `max_tokens` for all others; the other one if it is refused.
    #[default]
    Auto,
    /// `max_tokens`, which all servers know except OpenAI's newest models.
    MaxTokens,
    /// `max_completion_tokens`, which OpenAI's newest models require.
    MaxCompletionTokens,
}

/// Settings of a chat service.
#[derive(Debug, Clone)]
pub struct OpenAiChatOptions {
    /// Address, credentials and limits of the service.
    pub connection: OpenAiConnection,
    /// Name of the model at the service.
    pub model: String,
    /// Context window in tokens, prompt and answer together.
    pub context_tokens: usize,
    /// Temperature if a request sets none; `None` leaves it to the service.
    pub temperature: Option<f32>,
    /// Token limit of an answer if a request sets none.
    pub max_tokens: Option<u32>,
    /// Parameter name for that limit.
    pub token_limit_name: TokenLimitName,
    /// Whether the first answer of each model is held back until it is known whether it begins with thoughts that only
    /// a closing tag marks.
    pub holds_first_answer: bool,
}

/// Chat model behind any OpenAI-compatible service.
#[derive(Debug)]
pub struct OpenAiChat {
    client: Arc<OpenAiClient>,
    options: OpenAiChatOptions,
    dialect: Mutex<ApiDialect>,
    habits: Arc<ModelThoughtMarkings>,
}

impl OpenAiChat {
    /// Creates a client; sends no request yet.
    pub fn new(options: OpenAiChatOptions) -> Result<Self, ConnectionError> {
        let newer_limit = match options.token_limit_name {
            TokenLimitName::Auto => options.connection.is_openai(),
            name => name == TokenLimitName::MaxCompletionTokens,
        };
        let is_set = options.token_limit_name != TokenLimitName::Auto;
        let all_marked = !options.holds_first_answer || options.connection.is_openai();
        Ok(Self {
            client: Arc::new(OpenAiClient::new(options.connection.clone())?),
            dialect: Mutex::new(ApiDialect::new(newer_limit, is_set)),
            habits: Arc::new(ModelThoughtMarkings::new(all_marked)),
            options,
        })
    }

    /// Opens a reply. Parameters that the service refuses are omitted from then on.
    async fn open_reply(&self, request: &ChatRequest) -> Result<OpenedReply, ServiceError> {
        let begun = Instant::now();
        let known = self.lock_dialect().clone();
        let mut dialect = known.clone();
        loop {
            let body = self.build_request(request, &dialect);
            let deadline = begun + self.opening_timeout(&dialect);
            let is_final = |fault: &ServiceError| dialect.next_dialect(fault, &body).is_some();
            let opening = self.client.open_reply("chat/completions", &body, is_final, deadline);
            let fault = match opening.await {
                Ok(reply) => {
                    if dialect != known {
                        tracing::info!(%dialect, "the chat service takes other parameters, remembered until the end of this process");
                        *self.lock_dialect() = dialect.clone();
                    }
                    return Ok(OpenedReply {
                        reply,
                        dialect,
                        deadline,
                    });
                }
                Err(fault) => fault,
            };
            dialect = dialect.next_dialect(&fault, &body).ok_or(fault)?;
        }
    }

    /// How long a reply may take to begin. A reply without streaming begins only when it is complete, so it may take
    /// the idle limit longer.
    fn opening_timeout(&self, dialect: &ApiDialect) -> Duration {
        let limits = self.options.connection.limits();
        match dialect.streams {
            true => limits.opening,
            false => limits.opening + limits.idle,
        }
    }

    fn lock_dialect(&self) -> MutexGuard<'_, ApiDialect> {
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build_request<'a>(&'a self, request: &'a ChatRequest, dialect: &ApiDialect) -> ChatCompletionRequest<'a> {
        let limit = request.max_tokens.or(self.options.max_tokens);
        let usage = dialect.streams && dialect.usage;
        ChatCompletionRequest {
            model: request.model.as_deref().unwrap_or(&self.options.model),
            messages: dialect.adapt_messages(&request.messages),
            stream: dialect.streams,
            stream_options: usage.then_some(StreamOptions { include_usage: true }),
            temperature: request
                .temperature
                .or(self.options.temperature)
                .filter(|_| dialect.temperature),
            max_tokens: limit.filter(|_| dialect.limit == TokenLimitField::MaxTokens),
            max_completion_tokens: limit.filter(|_| dialect.limit == TokenLimitField::MaxCompletionTokens),
            response_format: request
                .reply_schema
                .as_ref()
                .filter(|_| dialect.schema)
                .map(response_format),
        }
    }
}

#[async_trait]
impl ChatModel for OpenAiChat {
    fn model_description(&self) -> ChatDescription {
        ChatDescription {
            model: self.options.model.clone(),
            endpoint: Some(self.options.connection.endpoint()),
            quotes_sentences: false,
            context_tokens: self.options.context_tokens,
        }
    }

    async fn stream_reply(
        &self,
        request: ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatEvent, ChatError>>, ChatError> {
        let OpenedReply {
            reply,
            dialect,
            deadline,
        } = self.open_reply(&request).await?;
        let answer = stream::ChatReplyStream {
            client: Arc::clone(&self.client),
            habits: Arc::clone(&self.habits),
            model: request.model.unwrap_or_else(|| self.options.model.clone()),
            usage_was_asked: dialect.streams && dialect.usage,
        };
        Ok(answer.into_events(reply, deadline).boxed())
    }
}

/// A reply that has begun.
struct OpenedReply {
    reply: Response,
    /// The parameters that were sent.
    dialect: ApiDialect,
    /// Time by which its first bytes have to arrive.
    deadline: Instant,
}

/// Body of a chat completion request.
#[derive(Serialize)]
struct ChatCompletionRequest<'a> {
    model: &'a str,
    messages: std::borrow::Cow<'a, [ChatMessage]>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

/// `response_format` for a reply that must match a schema (structured outputs).
fn response_format(schema: &Value) -> Value {
    serde_json::json!({
        "type": "json_schema",
        "json_schema": { "name": "reply", "strict": true, "schema": schema },
    })
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}
