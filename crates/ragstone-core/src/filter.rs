//! A caller's own filter, in OpenAI's format: comparisons of a document's fields, and combinations of them.
//!
//! Numbers are ordered by value, dates by instant (RFC 3339 with any offset; a date alone means midnight UTC), other
//! text by code point. Equality is literal, except for numbers.
//!
//! Invariant: a filter only narrows what a scope admits. A missing field satisfies no comparison. A part that is not
//! understood is refused with its position and never skipped, since skipping it could admit more documents.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime};

use crate::nearest::suggest_name;

/// Deepest nesting of a filter.
pub const MAX_FILTER_DEPTH: usize = 8;
/// Most comparisons in one filter.
pub const MAX_FILTER_COMPARISONS: usize = 64;
/// Most values of an `in` or `nin`.
pub const MAX_FILTER_VALUES: usize = 1_000;
/// Longest key, in bytes.
pub const MAX_FILTER_KEY_BYTES: usize = 256;
/// Longest text that is compared with, in bytes.
pub const MAX_FILTER_TEXT_BYTES: usize = 4_096;

/// A filter over the fields of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum MetadataFilter {
    /// The field equals the value.
    Eq(FieldComparison),
    /// The field exists and differs from the value.
    Ne(FieldComparison),
    /// The field is greater; numbers by value, dates by instant, other text by code point.
    Gt(FieldComparison),
    /// The field is greater or equal.
    Gte(FieldComparison),
    /// The field is less.
    Lt(FieldComparison),
    /// The field is less or equal.
    Lte(FieldComparison),
    /// The field is one of the values (an array).
    In(FieldComparison),
    /// The field exists and is none of the values.
    Nin(FieldComparison),
    /// The field is text that begins with the value.
    Prefix(FieldComparison),
    /// All of the filters match.
    And(FilterList),
    /// At least one of the filters matches.
    Or(FilterList),
    /// None of the filters matches.
    Not(FilterList),
}

/// A field and the value it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldComparison {
    /// A metadata key, or one of `document_id`, `source`, `uri`, `department_id`, `created_at`.
    pub key: String,
    /// The value; an array for `in` and `nin`.
    pub value: Value,
}

/// The filters that a combination consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterList {
    /// The filters, at least one.
    pub filters: Vec<MetadataFilter>,
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

impl MetadataFilter {
    /// Parses and checks a filter; the error names the first mistake.
    pub fn from_json(value: &Value) -> Result<Self, FilterError> {
        let mut comparisons = 0;
        parse_filter(value, "", 1, &mut comparisons)
    }

    /// Whether a document with these fields passes.
    pub fn matches(&self, fields: &Map<String, Value>) -> bool {
        match self.as_shape() {
            FilterShape::Comparison(comparison, test) => fields
                .get(&comparison.key)
                .is_some_and(|found| test.passes(FieldValue::from_json(found), &comparison.value)),
            FilterShape::All(parts) => parts.iter().all(|part| part.matches(fields)),
            FilterShape::Any(parts) => parts.iter().any(|part| part.matches(fields)),
            FilterShape::None(parts) => !parts.iter().any(|part| part.matches(fields)),
        }
    }

    /// The same filter as one of four shapes, for stores that keep fields in another form than a map.
    pub fn as_shape(&self) -> FilterShape<'_> {
        match self {
            MetadataFilter::Eq(c) => FilterShape::Comparison(c, ComparisonTest::Eq),
            MetadataFilter::Ne(c) => FilterShape::Comparison(c, ComparisonTest::Ne),
            MetadataFilter::Gt(c) => FilterShape::Comparison(c, ComparisonTest::Order(Ordering::is_gt)),
            MetadataFilter::Gte(c) => FilterShape::Comparison(c, ComparisonTest::Order(Ordering::is_ge)),
            MetadataFilter::Lt(c) => FilterShape::Comparison(c, ComparisonTest::Order(Ordering::is_lt)),
            MetadataFilter::Lte(c) => FilterShape::Comparison(c, ComparisonTest::Order(Ordering::is_le)),
            MetadataFilter::In(c) => FilterShape::Comparison(c, ComparisonTest::In),
            MetadataFilter::Nin(c) => FilterShape::Comparison(c, ComparisonTest::Nin),
            MetadataFilter::Prefix(c) => FilterShape::Comparison(c, ComparisonTest::Prefix),
            MetadataFilter::And(parts) => FilterShape::All(&parts.filters),
            MetadataFilter::Or(parts) => FilterShape::Any(&parts.filters),
            MetadataFilter::Not(parts) => FilterShape::None(&parts.filters),
        }
    }
}

/// A filter as a comparison of one field, or as a combination.
#[derive(Debug, Clone, Copy)]
pub enum FilterShape<'a> {
    /// The field passes the test.
    Comparison(&'a FieldComparison, ComparisonTest),
    /// All of the filters match.
    All(&'a [MetadataFilter]),
    /// At least one of the filters matches.
    Any(&'a [MetadataFilter]),
    /// None of the filters matches.
    None(&'a [MetadataFilter]),
}

/// How a field is compared.
#[derive(Debug, Clone, Copy)]
pub enum ComparisonTest {
    /// It equals the value.
    Eq,
    /// It differs from the value.
    Ne,
    /// Its order relative to the value satisfies this predicate.
    Order(fn(Ordering) -> bool),
    /// It is one of the values.
    In,
    /// It is none of the values.
    Nin,
    /// It begins with the value.
    Prefix,
}

/// The value of a document's field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue<'a> {
    /// A field that contains text.
    Text(&'a str),
    /// Any other JSON value.
    Other(&'a Value),
}

impl<'a> FieldValue<'a> {
    /// The value of a field in a map.
    pub fn from_json(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            other => Self::Other(other),
        }
    }
}

impl ComparisonTest {
    /// Whether a field passes; a null field passes no test, as if it were missing.
    pub fn passes(self, found: FieldValue<'_>, wanted: &Value) -> bool {
        if matches!(found, FieldValue::Other(Value::Null)) {
            return false;
        }
        match self {
            Self::Eq => field_equals(found, wanted),
            Self::Ne => !field_equals(found, wanted),
            Self::Order(fits) => compare_values(found, wanted).is_some_and(fits),
            Self::In => equals_any(found, wanted),
            Self::Nin => !equals_any(found, wanted),
            Self::Prefix => match (found, wanted) {
                (FieldValue::Text(found), Value::String(prefix)) => found.starts_with(prefix.as_str()),
                _ => false,
            },
        }
    }
}

/// Whether a field equals a value; a list does if one of its items does.
fn field_equals(found: FieldValue<'_>, wanted: &Value) -> bool {
    match found {
        FieldValue::Text(found) => wanted.as_str() == Some(found),
        FieldValue::Other(Value::Array(items)) => items
            .iter()
            .any(|item| field_equals(FieldValue::from_json(item), wanted)),
        FieldValue::Other(Value::Number(_)) => compare_values(found, wanted).is_some_and(Ordering::is_eq),
        FieldValue::Other(found) => found == wanted,
    }
}

fn equals_any(found: FieldValue<'_>, wanted: &Value) -> bool {
    wanted
        .as_array()
        .is_some_and(|values| values.iter().any(|value| field_equals(found, value)))
}

fn compare_values(left: FieldValue<'_>, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (FieldValue::Other(Value::Number(l)), Value::Number(r)) => match (l.as_i64(), r.as_i64()) {
            (Some(l), Some(r)) => Some(l.cmp(&r)),
            _ => l.as_f64()?.partial_cmp(&r.as_f64()?),
        },
        (FieldValue::Text(l), Value::String(r)) => Some(match (parse_instant(l), parse_instant(r)) {
            (Some(l), Some(r)) => l.cmp(&r),
            _ => l.cmp(r.as_str()),
        }),
        _ => None,
    }
}

/// The instant of a date, or of a time with an offset; `None` for other text.
fn parse_instant(text: &str) -> Option<OffsetDateTime> {
    let bytes = text.as_bytes();
    let may_be = bytes.len() >= 10 && bytes[0].is_ascii_digit() && bytes[4] == b'-';
    match bytes.len() {
        _ if !may_be => None,
        10 => {
            let day = Date::parse(text, time::macros::format_description!("[year]-[month]-[day]"));
            day.ok().map(|day| day.midnight().assume_utc())
        }
        _ => OffsetDateTime::parse(text, &Rfc3339).ok(),
    }
}

fn parse_filter(value: &Value, at: &str, depth: usize, comparisons: &mut usize) -> Result<MetadataFilter, FilterError> {
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
        check_known_members(object, &["type", "filters"], at)?;
        let parts = parse_parts(object, at, depth, comparisons)?;
        return Ok(match kind {
            "and" => MetadataFilter::And(parts),
            "or" => MetadataFilter::Or(parts),
            _ => MetadataFilter::Not(parts),
        });
    }
    *comparisons += 1;
    if *comparisons > MAX_FILTER_COMPARISONS {
        return wrong(at.into(), format!("more than {MAX_FILTER_COMPARISONS} comparisons"));
    }
    let comparison = parse_comparison(object, kind, at)?;
    Ok(match kind {
        "eq" => MetadataFilter::Eq(comparison),
        "ne" => MetadataFilter::Ne(comparison),
        "gt" => MetadataFilter::Gt(comparison),
        "gte" => MetadataFilter::Gte(comparison),
        "lt" => MetadataFilter::Lt(comparison),
        "lte" => MetadataFilter::Lte(comparison),
        "in" => MetadataFilter::In(comparison),
        "nin" => MetadataFilter::Nin(comparison),
        "prefix" => MetadataFilter::Prefix(comparison),
        other => return wrong(format!("{at}/type"), format!("{other:?} is not a filter type")),
    })
}

fn parse_parts(
    object: &Map<String, Value>,
    at: &str,
    depth: usize,
    comparisons: &mut usize,
) -> Result<FilterList, FilterError> {
    let pointer = format!("{at}/filters");
    match object.get("filters").and_then(Value::as_array) {
        Some(parts) if !parts.is_empty() => parts
            .iter()
            .enumerate()
            .map(|(n, part)| parse_filter(part, &format!("{pointer}/{n}"), depth + 1, comparisons))
            .collect::<Result<_, _>>()
            .map(|filters| FilterList { filters }),
        _ => Err(FilterError {
            pointer,
            problem: "must be a list of at least one filter".into(),
        }),
    }
}

fn parse_comparison(object: &Map<String, Value>, kind: &str, at: &str) -> Result<FieldComparison, FilterError> {
    let wrong = |name: &str, problem: String| FilterError {
        pointer: format!("{at}/{name}"),
        problem,
    };
    let key = match object.get("key") {
        Some(Value::String(key)) if !key.is_empty() => key.clone(),
        _ => return Err(wrong("key", "must be the name of a field".into())),
    };
    if key.len() > MAX_FILTER_KEY_BYTES {
        return Err(wrong("key", format!("is longer than {MAX_FILTER_KEY_BYTES} bytes")));
    }
    let value = object
        .get("value")
        .cloned()
        .ok_or_else(|| wrong("value", "is missing".into()))?;
    check_known_members(object, &["type", "key", "value"], at)?;
    match (kind, &value) {
        ("in" | "nin", Value::Array(values)) if values.len() > MAX_FILTER_VALUES => {
            return Err(wrong("value", format!("has more than {MAX_FILTER_VALUES} values")));
        }
        ("in" | "nin", Value::Array(values)) => {
            for (n, value) in values.iter().enumerate() {
                check_value(value, "eq").map_err(|problem| wrong(&format!("value/{n}"), problem))?;
            }
        }
        _ => check_value(&value, kind).map_err(|problem| wrong("value", problem))?,
    }
    Ok(FieldComparison { key, value })
}

/// Refuses members that this type of filter does not have.
fn check_known_members(object: &Map<String, Value>, known: &[&str], at: &str) -> Result<(), FilterError> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => {
            let meant = suggest_name(name, known.iter().copied()).map(|meant| format!("; {meant}"));
            Err(FilterError {
                pointer: format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                problem: format!("is not known here{}", meant.unwrap_or_default()),
            })
        }
        None => Ok(()),
    }
}

/// Checks whether a value can be compared in this way; the error says why not.
fn check_value(value: &Value, kind: &str) -> Result<(), String> {
    let is_wanted = match kind {
        "gt" | "gte" | "lt" | "lte" => value.is_number() || value.is_string(),
        "prefix" => value.is_string(),
        "eq" | "ne" => is_scalar(value),
        "in" | "nin" => false,
        _ => true,
    };
    match value.as_str() {
        _ if !is_wanted => Err(format!("does not fit {kind}")),
        Some(text) if text.len() > MAX_FILTER_TEXT_BYTES => {
            Err(format!("is longer than {MAX_FILTER_TEXT_BYTES} bytes"))
        }
        _ => Ok(()),
    }
}

fn is_scalar(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

#[cfg(test)]
mod tests;
