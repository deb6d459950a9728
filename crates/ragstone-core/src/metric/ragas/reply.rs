//! Parsing of a judge's reply: finds the JSON and converts its values as the chosen implementation does.
//!
//! Legacy accepts `"1"`, `true` and `1.0` as the integer 1; collections accepts integers only. Braces inside strings
//! are handled correctly, because the text is parsed, while RAGAS counts braces.

use serde_json::Value;

use super::RagasApi;
use super::judge::JudgeCallKind;

/// Start of a fenced reply.
const FENCE: &str = "```json";

/// Expected form of a reply; the error says what is wrong with it.
pub(super) trait ReplyFormat: Sized {
    fn from_json(value: &Value, api: RagasApi) -> Result<Self, String>;
}

/// Parses the first JSON object or array in a reply that has the expected form; surrounding text is ignored.
pub(super) fn parse_reply<T: ReplyFormat>(reply: &str, api: RagasApi) -> Result<T, String> {
    let text = reply.find(FENCE).map_or(reply, |at| &reply[at + FENCE.len()..]);
    let mut wrong = None;
    let (mut from, starts) = (0, ['{', '[']);
    while let Some(at) = text[from..].find(starts).map(|at| from + at) {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        from = at + 1;
        if let Some(Ok(value)) = values.next() {
            from = at + values.byte_offset();
            match T::from_json(&value, api) {
                Ok(read) => return Ok(read),
                Err(detail) => wrong = wrong.or(Some(detail)),
            }
        }
    }
    Err(wrong.unwrap_or_else(|| "it holds no JSON".into()))
}

/// Whether a reply to a call of `kind` is valid for the more lenient (legacy) implementation.
pub fn is_readable_reply(kind: JudgeCallKind, reply: &str) -> bool {
    fn can_parse<T: ReplyFormat>(reply: &str) -> bool {
        parse_reply::<T>(reply, RagasApi::Legacy).is_ok()
    }
    match kind {
        JudgeCallKind::Statements | JudgeCallKind::Claims => can_parse::<StatementList>(reply),
        JudgeCallKind::Nli => can_parse::<StatementVerdicts>(reply),
        JudgeCallKind::QuestionFromAnswer => can_parse::<GeneratedQuestion>(reply),
        JudgeCallKind::ContextUseful => can_parse::<UsefulnessVerdict>(reply),
        JudgeCallKind::ContextAttribution => can_parse::<SentenceAttributions>(reply),
        JudgeCallKind::TpFpFn => can_parse::<ConfusionCounts>(reply),
        JudgeCallKind::FixFormat => can_parse::<RepairedReply>(reply),
    }
}

/// `{"statements": ["…"]}` or `{"claims": ["…"]}`.
pub(super) struct StatementList(pub Vec<String>);

impl ReplyFormat for StatementList {
    fn from_json(value: &Value, _: RagasApi) -> Result<Self, String> {
        let key = ["statements", "claims"]
            .into_iter()
            .find(|key| value.get(key).is_some());
        let items = get_list(value, key.unwrap_or("statements"))?;
        let read = |item: &Value| item.as_str().map(String::from).ok_or("a statement is no string");
        Ok(Self(items.iter().map(read).collect::<Result<_, _>>()?))
    }
}

/// `{"statements": [{"statement", "reason", "verdict"}]}`.
pub(super) struct StatementVerdicts(pub Vec<i64>);

impl ReplyFormat for StatementVerdicts {
    fn from_json(value: &Value, api: RagasApi) -> Result<Self, String> {
        parse_verdicts(value, "statements", "verdict", api).map(Self)
    }
}

/// `{"classifications": [{"statement", "reason", "attributed"}]}`.
pub(super) struct SentenceAttributions(pub Vec<i64>);

impl ReplyFormat for SentenceAttributions {
    fn from_json(value: &Value, api: RagasApi) -> Result<Self, String> {
        parse_verdicts(value, "classifications", "attributed", api).map(Self)
    }
}

/// `{"question", "noncommittal"}`, the reply to `QuestionFromAnswer`.
pub(super) struct GeneratedQuestion {
    pub question: String,
    pub noncommittal: bool,
}

impl ReplyFormat for GeneratedQuestion {
    fn from_json(value: &Value, api: RagasApi) -> Result<Self, String> {
        Ok(Self {
            question: get_text(value, "question")?.to_owned(),
            noncommittal: get_integer(value, "noncommittal", api)? != 0,
        })
    }
}

/// `{"reason", "verdict"}`, the reply to `ContextUseful`.
pub(super) struct UsefulnessVerdict(pub i64);

impl ReplyFormat for UsefulnessVerdict {
    fn from_json(value: &Value, api: RagasApi) -> Result<Self, String> {
        get_text(value, "reason")?;
        get_integer(value, "verdict", api).map(Self)
    }
}

/// `{"TP": [{"statement", "reason"}], "FP": […], "FN": […]}`; only the lengths matter.
pub(super) struct ConfusionCounts {
    pub right: usize,
    pub wrong: usize,
    pub missing: usize,
}

impl ReplyFormat for ConfusionCounts {
    fn from_json(value: &Value, _: RagasApi) -> Result<Self, String> {
        let count = |key: &str| {
            let items = get_list(value, key)?;
            items.iter().try_for_each(check_reasoned)?;
            Ok::<_, String>(items.len())
        };
        Ok(Self {
            right: count("TP")?,
            wrong: count("FP")?,
            missing: count("FN")?,
        })
    }
}

/// `{"text"}`: an earlier reply, rewritten in the requested form.
pub(super) struct RepairedReply(pub String);

impl ReplyFormat for RepairedReply {
    fn from_json(value: &Value, _: RagasApi) -> Result<Self, String> {
        get_text(value, "text").map(|text| Self(text.to_owned()))
    }
}

fn parse_verdicts(value: &Value, list: &str, verdict: &str, api: RagasApi) -> Result<Vec<i64>, String> {
    let read = |item: &Value| {
        check_reasoned(item)?;
        get_integer(item, verdict, api)
    };
    get_list(value, list)?.iter().map(read).collect()
}

fn check_reasoned(item: &Value) -> Result<(), String> {
    get_text(item, "statement")?;
    get_text(item, "reason").map(drop)
}

fn get_list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    value[key].as_array().ok_or_else(|| format!("{key} is no list"))
}

fn get_text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value[key].as_str().ok_or_else(|| format!("{key} is no string"))
}

fn get_integer(value: &Value, key: &str, api: RagasApi) -> Result<i64, String> {
    let strict = value[key].as_i64();
    let found = match api {
        RagasApi::Collections => strict,
        RagasApi::Legacy => strict.or_else(|| coerce_integer(&value[key])),
    };
    found.ok_or_else(|| format!("{key} is no integer"))
}

fn coerce_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Number(value) => exact_integer(value.as_f64()?),
        Value::String(value) => value
            .trim()
            .parse()
            .ok()
            .or_else(|| exact_integer(value.trim().parse().ok()?)),
        _ => None,
    }
}

fn exact_integer(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 2_f64.powi(53)).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reply: &str, legacy: Option<&[i64]>, collections: Option<&[i64]>) {
        for (api, expected) in [(RagasApi::Legacy, legacy), (RagasApi::Collections, collections)] {
            let verdicts = parse_reply::<StatementVerdicts>(reply, api).map(|read| read.0);
            assert_eq!(verdicts.ok().as_deref(), expected, "{api:?}: {reply}");
        }
    }

    #[test]
    fn the_json_is_found_in_whatever_stands_around_it() {
        let one = r#"{"statements": [{"statement": "a } b", "reason": "{", "verdict": 1}]}"#;
        for reply in [
            one.to_owned(),
            format!("Sure, see [1] and {{x}}:\n```json\n{one}\n```\nDone."),
            format!("Here {{it}} is, as in [1]: {one} {{}}"),
        ] {
            check(&reply, Some(&[1]), Some(&[1]));
        }
        for reply in [
            "",
            "no",
            "{",
            r#"{"statements": 1}"#,
            "[1]",
            r#"{"statements": [{"verdict": 1}]}"#,
        ] {
            check(reply, None, None);
        }
        check(r#"{"statements": []}"#, Some(&[]), Some(&[]));
    }

    #[test]
    fn values_are_coerced_in_one_of_the_two() {
        let reply =
            |verdict: &str| format!(r#"{{"statements": [{{"statement": "s", "reason": "r", "verdict": {verdict}}}]}}"#);
        check(&reply("-1"), Some(&[-1]), Some(&[-1]));
        for one in [r#""1""#, "true", "1.0", r#"" 1 ""#, r#""1.0""#] {
            check(&reply(one), Some(&[1]), None);
        }
        for neither in ["0.5", r#""yes""#, "null", "[1]", "1e300"] {
            check(&reply(neither), None, None);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong =
            parse_reply::<StatementVerdicts>(r#"{"statements": [{"statement": "s", "reason": 1}]}"#, RagasApi::Legacy);
        assert_eq!(wrong.err().as_deref(), Some("reason is no string"));
        assert_eq!(
            parse_reply::<UsefulnessVerdict>("no", RagasApi::Legacy)
                .err()
                .as_deref(),
            Some("it holds no JSON")
        );
    }
}
