//! Reading a judge's reply: the JSON in it, and its values as the followed implementation takes them.
//!
//! Legacy takes `"1"`, `true` and `1.0` for the integer 1; collections takes integers alone. Braces inside strings do
//! not confuse: the text is parsed, where RAGAS counts braces.

use serde_json::Value;

use super::Api;
use super::judge::Kind;

/// Where a fenced reply begins.
const FENCE: &str = "```json";

/// What a reply should be; the error says what is wrong with it.
pub(super) trait Shape: Sized {
    fn of(value: &Value, api: Api) -> Result<Self, String>;
}

/// Reads the first JSON object or array of a reply that fits; what stands around it is ignored.
pub(super) fn read<T: Shape>(reply: &str, api: Api) -> Result<T, String> {
    let text = reply.find(FENCE).map_or(reply, |at| &reply[at + FENCE.len()..]);
    let mut wrong = None;
    let (mut from, starts) = (0, ['{', '[']);
    while let Some(at) = text[from..].find(starts).map(|at| from + at) {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        from = at + 1;
        if let Some(Ok(value)) = values.next() {
            from = at + values.byte_offset();
            match T::of(&value, api) {
                Ok(read) => return Ok(read),
                Err(detail) => wrong = wrong.or(Some(detail)),
            }
        }
    }
    Err(wrong.unwrap_or_else(|| "it holds no JSON".into()))
}

/// Whether a reply about `kind` can be read by the more lenient implementation.
pub fn fits(kind: Kind, reply: &str) -> bool {
    fn reads<T: Shape>(reply: &str) -> bool {
        read::<T>(reply, Api::Legacy).is_ok()
    }
    match kind {
        Kind::Statements | Kind::Claims => reads::<Sentences>(reply),
        Kind::Nli => reads::<Verdicts>(reply),
        Kind::QuestionFromAnswer => reads::<Generated>(reply),
        Kind::ContextUseful => reads::<Useful>(reply),
        Kind::ContextAttribution => reads::<Attributions>(reply),
        Kind::TpFpFn => reads::<Sorted>(reply),
        Kind::FixFormat => reads::<Repaired>(reply),
    }
}

/// `{"statements": ["…"]}` or `{"claims": ["…"]}`.
pub(super) struct Sentences(pub Vec<String>);

impl Shape for Sentences {
    fn of(value: &Value, _: Api) -> Result<Self, String> {
        let key = ["statements", "claims"]
            .into_iter()
            .find(|key| value.get(key).is_some());
        let items = items(value, key.unwrap_or("statements"))?;
        let read = |item: &Value| item.as_str().map(String::from).ok_or("a statement is no string");
        Ok(Self(items.iter().map(read).collect::<Result<_, _>>()?))
    }
}

/// `{"statements": [{"statement", "reason", "verdict"}]}`.
pub(super) struct Verdicts(pub Vec<i64>);

impl Shape for Verdicts {
    fn of(value: &Value, api: Api) -> Result<Self, String> {
        judged(value, "statements", "verdict", api).map(Self)
    }
}

/// `{"classifications": [{"statement", "reason", "attributed"}]}`.
pub(super) struct Attributions(pub Vec<i64>);

impl Shape for Attributions {
    fn of(value: &Value, api: Api) -> Result<Self, String> {
        judged(value, "classifications", "attributed", api).map(Self)
    }
}

/// `{"question", "noncommittal"}`.
pub(super) struct Generated {
    pub question: String,
    pub noncommittal: bool,
}

impl Shape for Generated {
    fn of(value: &Value, api: Api) -> Result<Self, String> {
        Ok(Self {
            question: text(value, "question")?.to_owned(),
            noncommittal: integer(value, "noncommittal", api)? != 0,
        })
    }
}

/// `{"reason", "verdict"}`.
pub(super) struct Useful(pub i64);

impl Shape for Useful {
    fn of(value: &Value, api: Api) -> Result<Self, String> {
        text(value, "reason")?;
        integer(value, "verdict", api).map(Self)
    }
}

/// `{"TP": [{"statement", "reason"}], "FP": […], "FN": […]}`; only the lengths matter.
pub(super) struct Sorted {
    pub right: usize,
    pub wrong: usize,
    pub missing: usize,
}

impl Shape for Sorted {
    fn of(value: &Value, _: Api) -> Result<Self, String> {
        let count = |key: &str| {
            let items = items(value, key)?;
            items.iter().try_for_each(reasoned)?;
            Ok::<_, String>(items.len())
        };
        Ok(Self {
            right: count("TP")?,
            wrong: count("FP")?,
            missing: count("FN")?,
        })
    }
}

/// `{"text"}`: a reply in another form.
pub(super) struct Repaired(pub String);

impl Shape for Repaired {
    fn of(value: &Value, _: Api) -> Result<Self, String> {
        text(value, "text").map(|text| Self(text.to_owned()))
    }
}

fn judged(value: &Value, list: &str, verdict: &str, api: Api) -> Result<Vec<i64>, String> {
    let read = |item: &Value| {
        reasoned(item)?;
        integer(item, verdict, api)
    };
    items(value, list)?.iter().map(read).collect()
}

fn reasoned(item: &Value) -> Result<(), String> {
    text(item, "statement")?;
    text(item, "reason").map(drop)
}

fn items<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    value[key].as_array().ok_or_else(|| format!("{key} is no list"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value[key].as_str().ok_or_else(|| format!("{key} is no string"))
}

fn integer(value: &Value, key: &str, api: Api) -> Result<i64, String> {
    let strict = value[key].as_i64();
    let found = match api {
        Api::Collections => strict,
        Api::Legacy => strict.or_else(|| coerced(&value[key])),
    };
    found.ok_or_else(|| format!("{key} is no integer"))
}

fn coerced(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Number(value) => whole(value.as_f64()?),
        Value::String(value) => value.trim().parse().ok().or_else(|| whole(value.trim().parse().ok()?)),
        _ => None,
    }
}

fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 2_f64.powi(53)).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reply: &str, legacy: Option<&[i64]>, collections: Option<&[i64]>) {
        for (api, expected) in [(Api::Legacy, legacy), (Api::Collections, collections)] {
            let verdicts = read::<Verdicts>(reply, api).map(|read| read.0);
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
        let wrong = read::<Verdicts>(r#"{"statements": [{"statement": "s", "reason": 1}]}"#, Api::Legacy);
        assert_eq!(wrong.err().as_deref(), Some("reason is no string"));
        assert_eq!(
            read::<Useful>("no", Api::Legacy).err().as_deref(),
            Some("it holds no JSON")
        );
    }
}
