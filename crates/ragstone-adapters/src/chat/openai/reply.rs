//! Parses one event of a streamed reply, or a complete reply, in all the forms in which servers write it.
//!
//! Invariant: an error in any form is reported as an error, never as an empty delta; an event that only lacks text, in
//! an unusual form, is no error.

mod common;

use ragstone_core::seam::chat::{FinishReason, TokenUsage};
use serde_json::Value;

use crate::openai::{OpenAiClient, ServiceError};

/// Keys under which servers write an error message.
const MESSAGE_KEYS: [&str; 6] = ["message", "detail", "msg", "error", "description", "status_msg"];
/// Keys under which servers write an error's number.
const CODE_KEYS: [&str; 4] = ["code", "status", "status_code", "http_code"];
/// Keys of a message that hold thoughts.
const THOUGHT_KEYS: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

/// Longest unknown finish reason that is shown, in characters.
const MAX_REASON_CHARACTERS: usize = 100;

/// Contents of one event.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ReplyDelta {
    /// Text of the answer.
    pub text: String,
    /// Whether the server separates thoughts from the text.
    pub has_separate_thoughts: bool,
    /// Reason why the answer ends, in its last event.
    pub finish: Option<FinishReason>,
    /// Token counts, if the event has them.
    pub usage: Option<TokenUsage>,
}

/// Parses an event; `is_error` if its event name is `error`.
pub(super) fn parse_event(client: &OpenAiClient, data: &str, is_error: bool) -> Result<ReplyDelta, ServiceError> {
    if !is_error && let Some(text) = common::parse_usual_text(data) {
        return Ok(ReplyDelta {
            text,
            ..ReplyDelta::default()
        });
    }
    match serde_json::from_str::<Value>(data) {
        Ok(value) => parse_delta(client, &value, is_error),
        Err(_) if is_error => Err(ServiceError::from_event(&client.redact(data), None)),
        Err(error) => Err(ServiceError::broken(format!("its event is not as expected: {error}"))),
    }
}

/// Parses the JSON of an event, or of a reply that is not a stream.
pub(super) fn parse_delta(client: &OpenAiClient, value: &Value, is_error: bool) -> Result<ReplyDelta, ServiceError> {
    if let Some((message, code)) = find_error(value, is_error) {
        return Err(ServiceError::from_event(&client.redact(&message), code));
    }
    let usage = value.get("usage").and_then(parse_usage);
    let Some(choice) = value.get("choices").and_then(|choices| choices.get(0)) else {
        return Ok(ReplyDelta {
            usage,
            ..ReplyDelta::default()
        });
    };
    let message = ["delta", "message"]
        .iter()
        .find_map(|key| choice.get(key).filter(|value| !value.is_null()));
    let fields = message.map(|message| [message.get("content"), message.get("refusal")]);
    let said = fields.into_iter().flatten().chain([choice.get("text")]).flatten();
    let finish = choice.get("finish_reason").and_then(Value::as_str);
    Ok(ReplyDelta {
        text: said.map(content_text).collect(),
        has_separate_thoughts: message.is_some_and(|message| {
            THOUGHT_KEYS
                .iter()
                .any(|key| message.get(key).is_some_and(is_non_empty))
        }),
        finish: finish.and_then(|reason| parse_finish_reason(&client.redact(reason))),
        usage,
    })
}

/// The text of a content value: a string, or the text of its parts; thoughts and images have none.
fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(content_text).collect(),
        Value::Object(part) => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
            let said = part.get("text").or_else(|| part.get("refusal"));
            match kind {
                "text" | "output_text" | "text_delta" | "refusal" => said.map(content_text).unwrap_or_default(),
                _ => String::new(),
            }
        }
        _ => String::new(),
    }
}

/// Parses a finish reason; `None` if it is empty, `null` or `none`.
fn parse_finish_reason(reason: &str) -> Option<FinishReason> {
    let known = reason.trim().to_lowercase();
    Some(match known.as_str() {
        "" | "null" | "none" => return None,
        "stop" | "stop_sequence" | "stop_token" | "end_turn" | "end" | "eos" | "eos_token" | "complete"
        | "completed" | "done" | "finished" => FinishReason::Stop,
        "length"
        | "max_tokens"
        | "max_length"
        | "max_output_tokens"
        | "max_completion_tokens"
        | "model_length"
        | "token_limit" => FinishReason::Length,
        "content_filter" | "content_filtered" | "safety" | "recitation" | "blocklist" | "prohibited_content"
        | "spii" | "refusal" | "sensitive" => FinishReason::Filtered,
        _ => FinishReason::Interrupted(reason.trim().chars().take(MAX_REASON_CHARACTERS).collect()),
    })
}

/// Parses token counts, as far as they are given.
fn parse_usage(value: &Value) -> Option<TokenUsage> {
    let count = |keys: [&str; 2]| {
        let number = keys.iter().find_map(|key| value.get(key)).and_then(parse_number)?;
        (number.is_finite() && number >= 0.0).then_some(number as u64)
    };
    let prompt = count(["prompt_tokens", "input_tokens"]);
    let total = count(["total_tokens", "total_tokens"]);
    let completion = count(["completion_tokens", "output_tokens"]).or_else(|| total?.checked_sub(prompt?));
    (prompt.is_some() || completion.is_some()).then(|| TokenUsage {
        prompt_tokens: prompt.unwrap_or_default(),
        completion_tokens: completion.unwrap_or_default(),
    })
}

fn parse_number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// The message and number of an error, if `value` is one.
fn find_error(value: &Value, is_named: bool) -> Option<(String, Option<u64>)> {
    if let Value::Array(items) = value {
        return items.first().and_then(|item| find_error(item, is_named));
    }
    let choice = value.get("choices").and_then(|choices| choices.get(0));
    let says = |value: &Value, key: &str, word: &str| value.get(key).and_then(Value::as_str) == Some(word);
    let inner = ["error", "errors"]
        .iter()
        .find_map(|key| value.get(key).filter(|error| is_non_empty(error)))
        .or_else(|| choice?.get("error").filter(|error| is_non_empty(error)));
    let failed = value
        .get("base_resp")
        .filter(|status| error_code(status).is_some_and(|code| code != 0));
    let named = is_named || says(value, "object", "error") || says(value, "type", "error");
    let without_choices = choice.is_none()
        && !is_non_empty(value.get("usage").unwrap_or(&Value::Null))
        && MESSAGE_KEYS.iter().any(|key| value.get(key).is_some_and(is_non_empty));
    let said = match inner.or(failed) {
        Some(inner) => inner,
        None if named || without_choices => value,
        None => return find_finish_error(choice?),
    };
    Some((error_message(said), error_code(said).or_else(|| error_code(value))))
}

/// The error of a choice that ended with an error without naming it.
fn find_finish_error(choice: &Value) -> Option<(String, Option<u64>)> {
    let is_error = choice.get("finish_reason").and_then(Value::as_str) == Some("error");
    is_error.then(|| ("the service ended the answer with an error".to_owned(), None))
}

fn is_non_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

fn error_message(said: &Value) -> String {
    match said {
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.is_empty() => error_message(&items[0]),
        Value::Object(_) => MESSAGE_KEYS
            .iter()
            .find_map(|key| said.get(key).filter(|value| is_non_empty(value)))
            .map_or_else(|| said.to_string(), error_message),
        other => other.to_string(),
    }
}

fn error_code(said: &Value) -> Option<u64> {
    CODE_KEYS
        .iter()
        .find_map(|key| parse_number(said.get(key)?))
        .filter(|code| *code >= 0.0)
        .map(|code| code as u64)
}

#[cfg(test)]
mod tests;
