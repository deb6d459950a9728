//! A caller's own filter, in the form of OpenAI's: comparisons and their combinations over a document's fields.
//!
//! Invariant: a filter only narrows what a scope admits. A missing field satisfies no comparison.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Deepest nesting of a filter.
pub const MAX_FILTER_DEPTH: usize = 8;
/// Most comparisons in one filter.
pub const MAX_FILTER_COMPARISONS: usize = 64;
/// Most values of an `in` or `nin`.
pub const MAX_FILTER_VALUES: usize = 1_000;

/// A checked filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Filter {
    /// The field equals the value.
    Eq(Comparison),
    /// The field exists and differs from the value.
    Ne(Comparison),
    /// The field is greater; numbers by value, text by code point (so ISO dates compare as dates).
    Gt(Comparison),
    /// Greater or equal.
    Gte(Comparison),
    /// Less.
    Lt(Comparison),
    /// Less or equal.
    Lte(Comparison),
    /// The field is one of the values (an array).
    In(Comparison),
    /// The field exists and is none of the values.
    Nin(Comparison),
    /// The field is text that begins with the value.
    Prefix(Comparison),
    /// All of them.
    And(Filters),
    /// Any of them.
    Or(Filters),
    /// None of them.
    Not(Filters),
}

/// A field and what it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// A metadata key, or one of `document_id`, `source`, `uri`, `department_id`, `created_at`.
    pub key: String,
    /// The value; an array for `in` and `nin`.
    pub value: Value,
}

/// The parts of a combination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// At least one.
    pub filters: Vec<Filter>,
}

/// What is wrong with a filter, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter{pointer}: {problem}")]
pub struct FilterError {
    /// JSON pointer to the mistake, relative to the filter.
    pub pointer: String,
    /// What is wrong there.
    pub problem: String,
}

impl Filter {
    /// Reads a filter from JSON.
    pub fn parse(value: &Value) -> Result<Self, FilterError> {
        let mut comparisons = 0;
        parse(value, "", 1, &mut comparisons)
    }

    /// Whether a document with these fields passes.
    pub fn matches(&self, fields: &Map<String, Value>) -> bool {
        match self {
            Filter::Eq(c) => field(fields, c).is_some_and(|found| equals(found, &c.value)),
            Filter::Ne(c) => field(fields, c).is_some_and(|found| !equals(found, &c.value)),
            Filter::Gt(c) => ordered(fields, c, std::cmp::Ordering::is_gt),
            Filter::Gte(c) => ordered(fields, c, std::cmp::Ordering::is_ge),
            Filter::Lt(c) => ordered(fields, c, std::cmp::Ordering::is_lt),
            Filter::Lte(c) => ordered(fields, c, std::cmp::Ordering::is_le),
            Filter::In(c) => field(fields, c).is_some_and(|found| one_of(found, &c.value)),
            Filter::Nin(c) => field(fields, c).is_some_and(|found| !one_of(found, &c.value)),
            Filter::Prefix(c) => match (field(fields, c), &c.value) {
                (Some(Value::String(found)), Value::String(prefix)) => found.starts_with(prefix.as_str()),
                _ => false,
            },
            Filter::And(parts) => parts.filters.iter().all(|part| part.matches(fields)),
            Filter::Or(parts) => parts.filters.iter().any(|part| part.matches(fields)),
            Filter::Not(parts) => !parts.filters.iter().any(|part| part.matches(fields)),
        }
    }
}

fn field<'a>(fields: &'a Map<String, Value>, comparison: &Comparison) -> Option<&'a Value> {
    fields.get(&comparison.key).filter(|value| !value.is_null())
}

/// A field that is a list equals a value if one of its items does.
fn equals(found: &Value, wanted: &Value) -> bool {
    match found {
        Value::Array(items) => items.iter().any(|item| equals(item, wanted)),
        Value::Number(_) => compare(found, wanted).is_some_and(std::cmp::Ordering::is_eq),
        _ => found == wanted,
    }
}

fn one_of(found: &Value, wanted: &Value) -> bool {
    wanted
        .as_array()
        .is_some_and(|values| values.iter().any(|value| equals(found, value)))
}

fn ordered(fields: &Map<String, Value>, c: &Comparison, fits: fn(std::cmp::Ordering) -> bool) -> bool {
    field(fields, c)
        .and_then(|found| compare(found, &c.value))
        .is_some_and(fits)
}

fn compare(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::Number(l), Value::Number(r)) => match (l.as_i64(), r.as_i64()) {
            (Some(l), Some(r)) => Some(l.cmp(&r)),
            _ => l.as_f64()?.partial_cmp(&r.as_f64()?),
        },
        (Value::String(l), Value::String(r)) => Some(l.cmp(r)),
        _ => None,
    }
}

fn parse(value: &Value, at: &str, depth: usize, comparisons: &mut usize) -> Result<Filter, FilterError> {
    let wrong = |pointer: String, problem: String| Err(FilterError { pointer, problem });
    if depth > MAX_FILTER_DEPTH {
        return wrong(at.into(), format!("nested deeper than {MAX_FILTER_DEPTH}"));
    }
    let Some(object) = value.as_object() else {
        return wrong(at.into(), "must be an object with a type".into());
    };
    let kind = match object.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        _ => {
            return wrong(
                format!("{at}/type"),
                "must be eq, ne, gt, gte, lt, lte, in, nin, prefix, and, or, not".into(),
            );
        }
    };
    if let "and" | "or" | "not" = kind {
        let parts = parse_parts(object, at, depth, comparisons)?;
        return Ok(match kind {
            "and" => Filter::And(parts),
            "or" => Filter::Or(parts),
            _ => Filter::Not(parts),
        });
    }
    *comparisons += 1;
    if *comparisons > MAX_FILTER_COMPARISONS {
        return wrong(
            at.into(),
            format!("more than {MAX_FILTER_COMPARISONS} comparisons"),
        );
    }
    let comparison = parse_comparison(object, kind, at)?;
    Ok(match kind {
        "eq" => Filter::Eq(comparison),
        "ne" => Filter::Ne(comparison),
        "gt" => Filter::Gt(comparison),
        "gte" => Filter::Gte(comparison),
        "lt" => Filter::Lt(comparison),
        "lte" => Filter::Lte(comparison),
        "in" => Filter::In(comparison),
        "nin" => Filter::Nin(comparison),
        "prefix" => Filter::Prefix(comparison),
        other => return wrong(format!("{at}/type"), format!("{other:?} is not a filter type")),
    })
}

fn parse_parts(
    object: &Map<String, Value>,
    at: &str,
    depth: usize,
    comparisons: &mut usize,
) -> Result<Filters, FilterError> {
    let pointer = format!("{at}/filters");
    match object.get("filters").and_then(Value::as_array) {
        Some(parts) if !parts.is_empty() => parts
            .iter()
            .enumerate()
            .map(|(n, part)| parse(part, &format!("{pointer}/{n}"), depth + 1, comparisons))
            .collect::<Result<_, _>>()
            .map(|filters| Filters { filters }),
        _ => Err(FilterError {
            pointer,
            problem: "must be a list of at least one filter".into(),
        }),
    }
}

fn parse_comparison(object: &Map<String, Value>, kind: &str, at: &str) -> Result<Comparison, FilterError> {
    let wrong = |name: &str, problem: String| FilterError {
        pointer: format!("{at}/{name}"),
        problem,
    };
    let key = match object.get("key") {
        Some(Value::String(key)) if !key.is_empty() => key.clone(),
        _ => return Err(wrong("key", "must be the name of a field".into())),
    };
    let value = object
        .get("value")
        .cloned()
        .ok_or_else(|| wrong("value", "is missing".into()))?;
    let fits = match (kind, &value) {
        ("in" | "nin", Value::Array(values)) => {
            values.len() <= MAX_FILTER_VALUES && values.iter().all(is_scalar)
        }
        ("gt" | "gte" | "lt" | "lte", value) => value.is_number() || value.is_string(),
        ("prefix", value) => value.is_string(),
        ("eq" | "ne", value) => is_scalar(value),
        ("in" | "nin", _) => false,
        _ => true,
    };
    match fits {
        true => Ok(Comparison { key, value }),
        false => Err(wrong("value", format!("does not fit {kind}"))),
    }
}

fn is_scalar(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(filter: Value, passes: bool) {
        let fields =
            json!({"lang": "en", "year": 2024, "tags": ["a", "b"], "day": "2024-05-01", "none": null});
        let filter = Filter::parse(&filter).unwrap();
        assert_eq!(filter.matches(fields.as_object().unwrap()), passes, "{filter:?}");
        let json = serde_json::to_value(&filter).unwrap();
        assert_eq!(Filter::parse(&json).unwrap(), filter);
    }

    #[test]
    fn comparisons_pass_and_their_twins_do_not() {
        let c = |kind: &str, key: &str, value: Value| json!({"type": kind, "key": key, "value": value});
        check(c("eq", "lang", json!("en")), true);
        check(c("eq", "lang", json!("de")), false);
        check(c("eq", "year", json!(2024.0)), true);
        check(c("eq", "tags", json!("b")), true);
        check(c("eq", "tags", json!("c")), false);
        check(c("ne", "lang", json!("de")), true);
        check(c("ne", "missing", json!("de")), false);
        check(c("eq", "none", json!("x")), false);
        check(c("gt", "year", json!(2023)), true);
        check(c("gt", "year", json!(2024)), false);
        check(c("gte", "day", json!("2024-05-01")), true);
        check(c("lt", "day", json!("2024-05-01")), false);
        check(c("lt", "year", json!("2025")), false);
        check(c("in", "lang", json!(["de", "en"])), true);
        check(c("nin", "lang", json!(["de", "en"])), false);
        check(c("prefix", "day", json!("2024-")), true);
        check(c("prefix", "year", json!("20")), false);
    }

    #[test]
    fn combinations() {
        let yes = json!({"type": "eq", "key": "lang", "value": "en"});
        let no = json!({"type": "eq", "key": "lang", "value": "de"});
        check(json!({"type": "and", "filters": [yes, no]}), false);
        check(json!({"type": "or", "filters": [yes, no]}), true);
        check(json!({"type": "not", "filters": [no]}), true);
        check(json!({"type": "not", "filters": [yes]}), false);
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let check =
            |filter: Value, pointer: &str| assert_eq!(Filter::parse(&filter).unwrap_err().pointer, pointer);
        check(json!([]), "");
        check(json!({"type": "near"}), "/key");
        check(json!({"type": "near", "key": "a", "value": 1}), "/type");
        check(json!({"type": "eq", "key": "a"}), "/value");
        check(json!({"type": "eq", "key": "a", "value": {}}), "/value");
        check(json!({"type": "and", "filters": []}), "/filters");
        check(
            json!({"type": "and", "filters": [{"type": "in", "key": "a", "value": 3}]}),
            "/filters/0/value",
        );
        let mut deep = json!({"type": "eq", "key": "a", "value": 1});
        for _ in 0..MAX_FILTER_DEPTH {
            deep = json!({"type": "not", "filters": [deep]});
        }
        assert!(Filter::parse(&deep).unwrap_err().problem.contains("deeper"));
    }
}
