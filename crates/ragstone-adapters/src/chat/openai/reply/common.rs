//! The form that nearly every event has: one choice with a piece of text, and nothing else that is looked at. It is read
//! straight into that text; whatever differs is left to the reader of all forms.
//!
//! Invariant: what is read here, the reader of all forms reads alike.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// The text of an event in the usual form; none for any other.
pub(super) fn text(data: &str) -> Option<String> {
    let event: Event = serde_json::from_str(data).ok()?;
    let [choice] = event.choices;
    Some(choice.delta.content.unwrap_or_default())
}

/// Fields that are not named mean nothing to the reader of all forms either.
#[derive(Deserialize)]
struct Event {
    choices: [Choice; 1],
    #[serde(default, rename = "object")]
    _object: NoError,
    #[serde(default, rename = "type")]
    _kind: NoError,
    #[serde(default, rename = "usage")]
    _usage: Nothing,
    #[serde(default, rename = "error")]
    _error: Nothing,
    #[serde(default, rename = "errors")]
    _errors: Nothing,
    #[serde(default, rename = "base_resp")]
    _status: Nothing,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
    #[serde(default, rename = "text")]
    _text: Nothing,
    #[serde(default, rename = "error")]
    _error: Nothing,
    #[serde(default, rename = "finish_reason")]
    _finish: Nothing,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    #[serde(default, rename = "refusal")]
    _refusal: Nothing,
    #[serde(default, rename = "reasoning_content")]
    _reasoning_content: Nothing,
    #[serde(default, rename = "reasoning")]
    _reasoning: Nothing,
    #[serde(default, rename = "thinking")]
    _thinking: Nothing,
}

/// What an event is called: anything but an error.
#[derive(Default)]
struct NoError;

impl<'de> Deserialize<'de> for NoError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoErrorVisitor)
    }
}

struct NoErrorVisitor;

impl Visitor<'_> for NoErrorVisitor {
    type Value = NoError;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a word that is not error")
    }

    fn visit_unit<E: Error>(self) -> Result<NoError, E> {
        Ok(NoError)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<NoError, E> {
        match word == "error" {
            true => Err(E::custom("an error")),
            false => Ok(NoError),
        }
    }
}

/// A field that says nothing: null or an empty text. Anything else is not the usual form.
#[derive(Default)]
struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NothingVisitor)
    }
}

struct NothingVisitor;

impl Visitor<'_> for NothingVisitor {
    type Value = Nothing;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("null or an empty text")
    }

    fn visit_unit<E: Error>(self) -> Result<Nothing, E> {
        Ok(Nothing)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Nothing, E> {
        match text.is_empty() {
            true => Ok(Nothing),
            false => Err(E::custom("a text")),
        }
    }
}
