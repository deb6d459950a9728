//! Fast path for the form that nearly every event has: one choice with text, and nothing else that matters. It is
//! deserialized straight into the text; all other forms are left to the general parser.
//!
//! Invariant: the general parser returns the same for every event that is parsed here.

use serde::Deserialize;

/// The text of an event in the usual form; `None` for any other form.
pub(super) fn parse_usual_text(data: &str) -> Option<String> {
    let event: UsualEvent = serde_json::from_str(data).ok()?;
    let [choice] = event.choices;
    let delta = choice.delta;
    let names = [event.object, event.kind];
    let silent = [
        event.usage,
        event.error,
        event.errors,
        event.status,
        choice.text,
        choice.error,
        choice.finish_reason,
        delta.refusal,
        delta.reasoning_content,
        delta.reasoning,
        delta.thinking,
    ];
    let is_usual = !names.contains(&Some("error")) && silent.iter().flatten().all(|text| text.is_empty());
    is_usual.then(|| delta.content.unwrap_or_default())
}

/// Fields of another type than here make the event an unusual one. The general parser ignores fields that are not
/// named here.
#[derive(Deserialize)]
struct UsualEvent<'a> {
    #[serde(borrow)]
    choices: [UsualChoice<'a>; 1],
    object: Option<&'a str>,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    usage: Option<&'a str>,
    error: Option<&'a str>,
    errors: Option<&'a str>,
    #[serde(rename = "base_resp")]
    status: Option<&'a str>,
}

#[derive(Deserialize)]
struct UsualChoice<'a> {
    #[serde(borrow)]
    delta: UsualDelta<'a>,
    text: Option<&'a str>,
    error: Option<&'a str>,
    finish_reason: Option<&'a str>,
}

#[derive(Deserialize)]
struct UsualDelta<'a> {
    content: Option<String>,
    #[serde(borrow)]
    refusal: Option<&'a str>,
    reasoning_content: Option<&'a str>,
    reasoning: Option<&'a str>,
    thinking: Option<&'a str>,
}
