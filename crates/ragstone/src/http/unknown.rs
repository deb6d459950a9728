//! Refuses unknown fields and parameters, with their place and the name that was probably meant. They are never
//! ignored: without its filter a search covers everything, and without its readers a document may be readable by
//! everyone.
//!
//! The known names come from the structs that are deserialised (`deny_unknown_fields`), by parsing the message that
//! serde gives in this case.

use ragstone_core::nearest::suggest_name;

use super::problem::{ApiProblem, Code};

/// Characters of an unknown name that are repeated in the response; the rest is cut off.
const MAX_REPEATED_CHARS: usize = 64;

/// The problem for an unknown field `name` in the object at `pointer`. `known` are the allowed names; `code` depends on
/// the kind of body.
pub(super) fn unknown_field(code: Code, pointer: &str, name: &str, known: &[&str]) -> ApiProblem {
    let shown: String = name.chars().take(MAX_REPEATED_CHARS).collect();
    let detail = format!("field `{shown}` is not known here");
    let pointer = format!("{pointer}/{}", escape_pointer(&shown));
    ApiProblem::new(code, detail)
        .with_hint(known_names_hint(name, known))
        .with_pointer(pointer)
}

/// The problem for an unknown query parameter `name`; `known` are the allowed names.
pub(super) fn unknown_parameter(name: &str, known: &[&str]) -> ApiProblem {
    let shown: String = name.chars().take(MAX_REPEATED_CHARS).collect();
    let detail = format!("query parameter `{shown}` is not known here");
    ApiProblem::new(Code::BadQuery, detail).with_hint(known_names_hint(name, known))
}

fn known_names_hint(name: &str, known: &[&str]) -> String {
    let all = match known {
        [] => "none is known here".to_owned(),
        known => format!("known are {}", known.join(", ")),
    };
    match suggest_name(name, known.iter().copied()) {
        Some(meant) => format!("{meant} {all}"),
        None => all,
    }
}

/// The unknown name and the known ones in serde's message; `None` if the message is about something else.
pub(super) fn parse_unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let (_, rest) = message.split_once("unknown field `")?;
    // The client chose the name, which may contain the separator, so search from the end.
    let (name, known) = rest
        .rsplit_once("`, expected ")
        .or_else(|| rest.rsplit_once("`, there are no fields"))?;
    let known = known.split('`').skip(1).step_by(2).collect();
    Some((name, known))
}

/// Escapes a key for a JSON pointer (RFC 6901).
pub(super) fn escape_pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::http::extract::read_json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(alias = "inside")]
        inner: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        readers: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    #[track_caller]
    fn refused<T: serde::de::DeserializeOwned + std::fmt::Debug>(body: &serde_json::Value) -> serde_json::Value {
        let problem = read_json::<T>(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(problem.code, Code::BadBody);
        json!(problem.to_body())
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place_and_the_nearest_name() {
        let answer = refused::<Outer>(&json!({"iner": []}));
        assert_eq!(answer["pointer"], "/iner");
        assert_eq!(answer["hint"], "did you mean `inner`? known are inner, inside");
        let answer = refused::<Outer>(&json!({"inner": [{}, {"readerz": "x"}]}));
        assert_eq!(answer["pointer"], "/inner/1/readerz");
        assert!(answer["hint"].as_str().unwrap().starts_with("did you mean `readers`?"));
        let answer = refused::<Outer>(&json!({"a/b~`, expected `c`": 1}));
        assert_eq!(answer["pointer"], "/a~1b~0`, expected `c`");
        assert_eq!(answer["hint"], "known are inner, inside");
        assert_eq!(refused::<Nothing>(&json!({"x": 1}))["hint"], "none is known here");
    }

    #[test]
    fn a_long_name_is_cut() {
        let answer = refused::<Outer>(&json!({"x".repeat(100_000): 1}));
        assert!(answer.to_string().len() < 1_000);
    }

    #[test]
    fn other_mistakes_stay_what_they_are() {
        let problem = |text: &str| read_json::<Outer>(text.as_bytes()).unwrap_err();
        assert_eq!(problem("{").code, Code::BadJson);
        assert_eq!(problem(r#"{"inner": 7}"#).code, Code::BadBody);
        assert_eq!(
            json!(problem(r#"{"inner": [{"readers": 7}]}"#).to_body())["pointer"],
            "/inner/0/readers"
        );
        let read = read_json::<Outer>(br#"{"inside": [{"readers": "x"}]}"#).unwrap();
        assert_eq!(read.inner.unwrap()[0].readers.as_deref(), Some("x"));
        assert!(read_json::<Outer>(br#"{} x"#).is_err());
    }
}
