//! Chat completions of any OpenAI-compatible service, streamed.
//!
//! Invariant: a request is tried again only before its reply has begun; dropping the stream closes the connection; a
//! reply that breaks off is an error and never looks like a finished answer.

use std::sync::{Arc, Mutex};

use async_stream::try_stream;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use ragstone_core::seam::chat::{ChatDescription, ChatEvent, ChatRequest, FinishReason, Message, Usage};
use ragstone_core::seam::{ChatError, ChatModel};
use reqwest::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::openai::{Client, Connection, ConnectionError, Fault, SseReader};

/// What stands behind the last event.
const DONE: &str = "[DONE]";

/// What a service calls the limit of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenLimitName {
    /// OpenAI's own service the newer, all others the older; the other one if it is refused.
    #[default]
    Auto,
    /// `max_tokens`, which all servers know but OpenAI's newest models.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// How a service is used.
#[derive(Debug, Clone)]
pub struct OpenAiChatOptions {
    /// Where it is.
    pub connection: Connection,
    /// The model's name there.
    pub model: String,
    /// Tokens that the model can read, prompt and answer together.
    pub context_tokens: usize,
    /// Sent where a request does not say; none leaves it to the service.
    pub temperature: Option<f32>,
    /// Most tokens of an answer where a request does not say.
    pub max_tokens: Option<u32>,
    /// What the service calls that.
    pub token_limit_name: TokenLimitName,
}

/// Any OpenAI-compatible chat model.
#[derive(Debug)]
pub struct OpenAiChat {
    client: Arc<Client>,
    options: OpenAiChatOptions,
    dialect: Mutex<Dialect>,
}

/// Which of the optional parameters the service takes; learned from what it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dialect {
    newer_limit: bool,
    limit_is_set: bool,
    usage: bool,
    temperature: bool,
    schema: bool,
}

impl OpenAiChat {
    /// Makes a client; nothing is sent yet.
    pub fn new(options: OpenAiChatOptions) -> Result<Self, ConnectionError> {
        let newer_limit = match options.token_limit_name {
            TokenLimitName::Auto => options.connection.is_openai(),
            name => name == TokenLimitName::MaxCompletionTokens,
        };
        let dialect = Dialect {
            newer_limit,
            limit_is_set: options.token_limit_name != TokenLimitName::Auto,
            usage: true,
            temperature: true,
            schema: true,
        };
        Ok(Self {
            client: Arc::new(Client::new(options.connection.clone())?),
            dialect: Mutex::new(dialect),
            options,
        })
    }

    /// A reply that has begun; parameters that the service refuses by name are left out the next time.
    async fn open(&self, request: &ChatRequest) -> Result<Response, Fault> {
        let mut dialect = self.dialect();
        loop {
            let fault = match self
                .client
                .open("chat/completions", &self.body(request, dialect))
                .await
            {
                Ok(reply) => {
                    *self
                        .dialect
                        .lock()
                        .expect("nothing panics while it holds the lock") = dialect;
                    return Ok(reply);
                }
                Err(fault) => fault,
            };
            dialect = dialect.without_what(&fault).ok_or(fault)?;
        }
    }

    fn dialect(&self) -> Dialect {
        *self
            .dialect
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    fn body<'a>(&'a self, request: &'a ChatRequest, dialect: Dialect) -> Body<'a> {
        let limit = request.max_tokens.or(self.options.max_tokens);
        Body {
            model: request.model.as_deref().unwrap_or(&self.options.model),
            messages: &request.messages,
            stream: true,
            stream_options: dialect.usage.then_some(StreamOptions { include_usage: true }),
            temperature: request
                .temperature
                .or(self.options.temperature)
                .filter(|_| dialect.temperature),
            max_tokens: limit.filter(|_| !dialect.newer_limit),
            max_completion_tokens: limit.filter(|_| dialect.newer_limit),
            response_format: request
                .reply_schema
                .as_ref()
                .filter(|_| dialect.schema)
                .map(response_format),
        }
    }
}

impl Dialect {
    /// The next one to try after a refusal; none if the refusal names nothing that can be left out.
    fn without_what(self, fault: &Fault) -> Option<Self> {
        let limit = if self.newer_limit {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        if self.usage && (fault.names("stream_options") || fault.names("include_usage")) {
            return Some(Self { usage: false, ..self });
        }
        if !self.limit_is_set && fault.names(limit) {
            return Some(Self {
                newer_limit: !self.newer_limit,
                limit_is_set: true,
                ..self
            });
        }
        if self.schema && (fault.names("response_format") || fault.names("json_schema")) {
            return Some(Self {
                schema: false,
                ..self
            });
        }
        (self.temperature && fault.names("temperature")).then_some(Self {
            temperature: false,
            ..self
        })
    }
}

#[async_trait]
impl ChatModel for OpenAiChat {
    fn describe(&self) -> ChatDescription {
        ChatDescription {
            model: self.options.model.clone(),
            endpoint: Some(self.options.connection.endpoint()),
            context_tokens: self.options.context_tokens,
        }
    }

    async fn stream(
        &self,
        request: ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatEvent, ChatError>>, ChatError> {
        let reply = self.open(&request).await?;
        Ok(events(Arc::clone(&self.client), reply).boxed())
    }
}

/// The events of a reply; the end comes once the service said that it is the end.
fn events(
    client: Arc<Client>,
    mut reply: Response,
) -> impl futures::Stream<Item = Result<ChatEvent, ChatError>> + Send {
    try_stream! {
        let mut reader = SseReader::default();
        let mut finish = None;
        let mut at_end = false;
        'reply: while !at_end {
            let pieces = match client.piece(&mut reply).await {
                Ok(Some(bytes)) => reader.push(&bytes).map_err(|_| Fault::broken("it sent an event without an end"))?,
                Ok(None) => {
                    at_end = true;
                    reader.finish().into_iter().collect()
                }
                // All was said; only the count of tokens is missing.
                Err(_) if finish.is_some() => break,
                Err(fault) => Err(fault)?,
            };
            for data in pieces {
                if data.trim() == DONE {
                    finish = finish.or(Some(FinishReason::Stop));
                    break 'reply;
                }
                let chunk = chunk(&client, &data)?;
                for text in chunk.texts() {
                    yield ChatEvent::Delta(text);
                }
                finish = chunk.finish().or(finish);
                if let Some(usage) = chunk.usage {
                    yield ChatEvent::Usage(usage);
                }
            }
        }
        yield ChatEvent::End(finish.ok_or_else(|| Fault::broken("its answer broke off"))?);
    }
}

fn chunk(client: &Client, data: &str) -> Result<Chunk, Fault> {
    let chunk: Chunk = serde_json::from_str(data)
        .map_err(|error| Fault::broken(format!("its event is not as expected: {error}")))?;
    match &chunk.error {
        None | Some(Value::Null) => Ok(chunk),
        Some(error) => {
            let said = error
                .get("message")
                .and_then(Value::as_str)
                .map_or_else(|| error.to_string(), str::to_owned);
            Err(Fault::broken(
                client.redact(&format!("it stopped with an error: {said}")),
            ))
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [Message],
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

/// A reply that must fit a schema, in the form of structured outputs.
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

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    /// What a model says instead where it will not answer.
    #[serde(default)]
    refusal: Option<String>,
}

impl Chunk {
    fn texts(&self) -> Vec<String> {
        let delta = self.choices.first().and_then(|choice| choice.delta.as_ref());
        let texts = delta
            .into_iter()
            .flat_map(|delta| [&delta.content, &delta.refusal])
            .flatten();
        texts.filter(|text| !text.is_empty()).cloned().collect()
    }

    fn finish(&self) -> Option<FinishReason> {
        let reason = self.choices.first()?.finish_reason.as_deref()?;
        match reason {
            "" => None,
            "length" => Some(FinishReason::Length),
            "content_filter" => Some(FinishReason::Filtered),
            _ => Some(FinishReason::Stop),
        }
    }
}
