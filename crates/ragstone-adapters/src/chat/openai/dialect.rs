//! Which of the optional parts of a request a service takes; learned from what it refuses.

use std::borrow::Cow;
use std::fmt;

use ragstone_core::seam::chat::{Message, MessageRole};

use super::Body;
use crate::openai::Fault;

/// Under which name the limit of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenLimit {
    /// `max_tokens`.
    Older,
    /// `max_completion_tokens`.
    Newer,
    /// None is sent.
    Without,
}

/// What is sent of what a service may not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialect {
    pub limit: TokenLimit,
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

impl Dialect {
    /// Everything is sent; the limit by its newer name or not, which may be fixed.
    pub fn new(newer_limit: bool, limit_is_fixed: bool) -> Self {
        Self {
            limit: match newer_limit {
                true => TokenLimit::Newer,
                false => TokenLimit::Older,
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
    pub fn messages<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        if self.system {
            return Cow::Borrowed(messages);
        }
        let of_system = |message: &&Message| message.role == MessageRole::System;
        let rules: Vec<&str> = messages
            .iter()
            .filter(of_system)
            .map(|message| message.content.as_str())
            .collect();
        let mut others: Vec<Message> = messages.iter().filter(|message| !of_system(message)).cloned().collect();
        match others.iter_mut().find(|message| message.role == MessageRole::User) {
            Some(first) => first.content = [rules.join("\n\n").as_str(), first.content.as_str()].join("\n\n"),
            None => others.push(Message {
                role: MessageRole::User,
                content: rules.join("\n\n"),
            }),
        }
        Cow::Owned(others)
    }

    /// The next one to try after `body` was refused; none if the refusal names nothing that can be left out.
    pub fn without_what(&self, fault: &Fault, body: &Body<'_>) -> Option<Self> {
        self.without_named(fault, body).or_else(|| self.plain(fault, body))
    }

    fn without_named(&self, fault: &Fault, body: &Body<'_>) -> Option<Self> {
        let dialect = self.clone();
        if body.stream_options.is_some() && (fault.names("stream_options") || fault.names("include_usage")) {
            return Some(Self {
                usage: false,
                ..dialect
            });
        }
        if self.has_limit(body) && self.refuses_limit(fault) {
            return Some(self.other_limit());
        }
        if body.response_format.is_some() && (fault.names("response_format") || fault.names("json_schema")) {
            return Some(Self {
                schema: false,
                ..dialect
            });
        }
        if body.temperature.is_some() && fault.names("temperature") {
            return Some(Self {
                temperature: false,
                ..dialect
            });
        }
        if self.system && has_system(body) && refuses_system(fault) {
            return Some(Self {
                system: false,
                ..dialect
            });
        }
        let is_about_streams = fault.names("stream") && fault.is_about_parameters();
        (self.streams && body.stream_options.is_none() && is_about_streams).then_some(Self {
            streams: false,
            ..dialect
        })
    }

    /// Without anything optional, where a refusal does not say what it means.
    fn plain(&self, fault: &Fault, body: &Body<'_>) -> Option<Self> {
        let has_any = body.stream_options.is_some() || body.temperature.is_some() || body.response_format.is_some();
        let says_what = fault.names("max_tokens") || fault.names("max_completion_tokens");
        (has_any && !says_what && fault.is_about_parameters()).then(|| Self {
            usage: false,
            temperature: false,
            schema: false,
            ..self.clone()
        })
    }

    fn has_limit(&self, body: &Body<'_>) -> bool {
        !self.limit_is_fixed && (body.max_tokens.is_some() || body.max_completion_tokens.is_some())
    }

    /// A limit that is too high is refused as well, under its own name: that is no matter of names.
    fn refuses_limit(&self, fault: &Fault) -> bool {
        let (own, other) = match self.limit {
            TokenLimit::Older => ("max_tokens", "max_completion_tokens"),
            _ => ("max_completion_tokens", "max_tokens"),
        };
        fault.names(own) && (fault.is_about_parameters() || fault.names(other))
    }

    fn other_limit(&self) -> Self {
        let limit = match (self.limit_is_set, self.limit) {
            (true, _) => TokenLimit::Without,
            (false, TokenLimit::Older) => TokenLimit::Newer,
            (false, _) => TokenLimit::Older,
        };
        Self {
            limit,
            limit_is_set: true,
            ..self.clone()
        }
    }
}

fn has_system(body: &Body<'_>) -> bool {
    body.messages.iter().any(|message| message.role == MessageRole::System)
}

/// Whether a refusal is about rules in a message of their own. Some templates only say that roles must alternate.
fn refuses_system(fault: &Fault) -> bool {
    let of_system = fault.names("system")
        && [
            "role",
            "instruction",
            "system prompt",
            "system message",
            "not supported",
        ]
        .iter()
        .any(|word| fault.names(word));
    of_system || fault.names("developer instruction") || fault.names("roles must alternate")
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = match self.limit {
            TokenLimit::Older => "max_tokens",
            TokenLimit::Newer => "max_completion_tokens",
            TokenLimit::Without => "no limit of tokens",
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
