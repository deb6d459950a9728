//! Which of the optional parts of a request a service takes; learned from what it refuses.

use std::borrow::Cow;
use std::fmt;

use ragstone_core::seam::chat::{ChatMessage, MessageRole};

use super::ChatCompletionRequest;
use crate::openai::ServiceError;

/// Under which name the limit of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenLimitField {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
    /// None is sent.
    Omitted,
}

/// What is sent of what a service may not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiDialect {
    pub limit: TokenLimitField,
    /// The operator chose the limit's name, or the other one was refused already.
    limit_is_set: bool,
    /// Whether the limit's name is the operator's.
    limit_is_fixed: bool,
    pub usage: bool,
    pub temperature: bool,
    pub schema: bool,
    /// Rules stand in a message of their own; else before the first question.
    system: bool,
    pub streams: bool,
}

impl ApiDialect {
    /// Everything is sent; the limit by its newer name or not, which may be fixed.
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

    /// The messages of a request as the service takes them.
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

    /// The next one to try after `body` was refused; none if the refusal names nothing that can be left out.
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

    /// Without anything optional, where a refusal does not say what it means.
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

    /// A limit that is too high is refused as well, under its own name: that is no matter of names.
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

/// Whether a refusal is about rules in a message of their own. Some templates only say that roles must alternate.
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
