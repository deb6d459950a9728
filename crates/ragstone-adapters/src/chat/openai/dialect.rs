//! Which optional parameters of a request a service accepts, learned from what it refuses.

use std::borrow::Cow;
use std::fmt;

use ragstone_core::seam::chat::{ChatMessage, MessageRole};

use super::ChatCompletionRequest;
use crate::openai::ServiceError;

/// Parameter name under which the token limit of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenLimitField {
    /// The limit is sent as `max_tokens`.
    MaxTokens,
    /// The limit is sent as `max_completion_tokens`.
    MaxCompletionTokens,
    /// No limit is sent.
    Omitted,
}

/// Which of the parameters that a service may not know are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiDialect {
    pub limit: TokenLimitField,
    /// Whether the limit's name is settled: the operator chose it, or the other one was refused.
    limit_is_set: bool,
    /// Whether the operator chose the limit's name.
    limit_is_fixed: bool,
    pub usage: bool,
    pub temperature: bool,
    pub schema: bool,
    /// Whether the rules are sent as a system message; if not, they are put before the first question.
    system: bool,
    pub streams: bool,
}

impl ApiDialect {
    /// Sends every parameter; `newer_limit` selects `max_completion_tokens`, `limit_is_fixed` forbids the other name.
    pub fn new(newer_limit: bool, limit_is_fixed: bool) -> Self {
        Self {
            limit: match newer_limit {
                true => TokenLimitField::MaxCompletionTokens,
                false => TokenLimitField::MaxTokens,
            },
            limit_is_set: limit_is_fixed,
            limit_is_fixed,
            usage: true,
            temperature: true,
            schema: true,
            system: true,
            streams: true,
        }
    }

    /// Adapts the messages of a request to what the service accepts.
    pub fn adapt_messages<'a>(&self, messages: &'a [ChatMessage]) -> Cow<'a, [ChatMessage]> {
        if self.system {
            return Cow::Borrowed(messages);
        }
        let of_system = |message: &&ChatMessage| message.role == MessageRole::System;
        let rules: Vec<&str> = messages
            .iter()
            .filter(of_system)
            .map(|message| message.content.as_str())
            .collect();
        let mut others: Vec<ChatMessage> = messages.iter().filter(|message| !of_system(message)).cloned().collect();
        match others.iter_mut().find(|message| message.role == MessageRole::User) {
            Some(first) => first.content = [rules.join("\n\n").as_str(), first.content.as_str()].join("\n\n"),
            None => others.push(ChatMessage {
                role: MessageRole::User,
                content: rules.join("\n\n"),
            }),
        }
        Cow::Owned(others)
    }

    /// The next dialect to try after `body` was refused; `None` if the refusal names nothing that can be omitted.
    pub fn next_dialect(&self, fault: &ServiceError, body: &ChatCompletionRequest<'_>) -> Option<Self> {
        self.without_named_parameter(fault, body)
            .or_else(|| self.without_optional_parameters(fault, body))
    }

    fn without_named_parameter(&self, fault: &ServiceError, body: &ChatCompletionRequest<'_>) -> Option<Self> {
        let dialect = self.clone();
        if body.stream_options.is_some()
            && (fault.names_parameter("stream_options") || fault.names_parameter("include_usage"))
        {
            return Some(Self {
                usage: false,
                ..dialect
            });
        }
        if self.sends_token_limit(body) && self.refuses_limit_name(fault) {
            return Some(self.with_other_limit());
        }
        if body.response_format.is_some()
            && (fault.names_parameter("response_format") || fault.names_parameter("json_schema"))
        {
            return Some(Self {
                schema: false,
                ..dialect
            });
        }
        if body.temperature.is_some() && fault.names_parameter("temperature") {
            return Some(Self {
                temperature: false,
                ..dialect
            });
        }
        if self.system && has_system_message(body) && refuses_system_message(fault) {
            return Some(Self {
                system: false,
                ..dialect
            });
        }
        let is_about_streams = fault.names_parameter("stream") && fault.is_about_parameters();
        (self.streams && body.stream_options.is_none() && is_about_streams).then_some(Self {
            streams: false,
            ..dialect
        })
    }

    /// Omits everything optional, for a refusal that does not name its reason.
    fn without_optional_parameters(&self, fault: &ServiceError, body: &ChatCompletionRequest<'_>) -> Option<Self> {
        let has_any = body.stream_options.is_some() || body.temperature.is_some() || body.response_format.is_some();
        let says_what = fault.names_parameter("max_tokens") || fault.names_parameter("max_completion_tokens");
        (has_any && !says_what && fault.is_about_parameters()).then(|| Self {
            usage: false,
            temperature: false,
            schema: false,
            ..self.clone()
        })
    }

    fn sends_token_limit(&self, body: &ChatCompletionRequest<'_>) -> bool {
        !self.limit_is_fixed && (body.max_tokens.is_some() || body.max_completion_tokens.is_some())
    }

    /// Whether the name of the limit is refused. A limit that is too high is refused under its own name as well, which
    /// is no reason to change the name.
    fn refuses_limit_name(&self, fault: &ServiceError) -> bool {
        let (own, other) = match self.limit {
            TokenLimitField::MaxTokens => ("max_tokens", "max_completion_tokens"),
            _ => ("max_completion_tokens", "max_tokens"),
        };
        fault.names_parameter(own) && (fault.is_about_parameters() || fault.names_parameter(other))
    }

    fn with_other_limit(&self) -> Self {
        let limit = match (self.limit_is_set, self.limit) {
            (true, _) => TokenLimitField::Omitted,
            (false, TokenLimitField::MaxTokens) => TokenLimitField::MaxCompletionTokens,
            (false, _) => TokenLimitField::MaxTokens,
        };
        Self {
            limit,
            limit_is_set: true,
            ..self.clone()
        }
    }
}

fn has_system_message(body: &ChatCompletionRequest<'_>) -> bool {
    body.messages.iter().any(|message| message.role == MessageRole::System)
}

/// Whether a refusal is about the system message. Some chat templates only say that roles must alternate.
fn refuses_system_message(fault: &ServiceError) -> bool {
    let of_system = fault.names_parameter("system")
        && [
            "role",
            "instruction",
            "system prompt",
            "system message",
            "not supported",
        ]
        .iter()
        .any(|word| fault.names_parameter(word));
    of_system || fault.names_parameter("developer instruction") || fault.names_parameter("roles must alternate")
}

impl fmt::Display for ApiDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = match self.limit {
            TokenLimitField::MaxTokens => "max_tokens",
            TokenLimitField::MaxCompletionTokens => "max_completion_tokens",
            TokenLimitField::Omitted => "no limit of tokens",
        };
        let left_out = [
            (self.usage, "stream_options"),
            (self.temperature, "temperature"),
            (self.schema, "response_format"),
            (self.system, "a system message"),
            (self.streams, "stream"),
        ];
        f.write_str(limit)?;
        left_out
            .iter()
            .filter(|(sent, _)| !sent)
            .try_for_each(|(_, name)| write!(f, ", without {name}"))
    }
}
