//! Translates a caller's filter to conditions of Qdrant.
//!
//! Invariant: the condition matches everything that [`MetadataFilter::matches`] matches; if it may match more, it says
//! so, and the caller filters again. So the result never depends on how much of a filter Qdrant supports.
//!
//! Fields are not compared in the stored metadata, because Qdrant's rules for lists, nested values and numbers differ
//! from ours. Each point has two derived payload fields: `terms`, a keyword for each field and each of its scalar
//! values, and `numbers`, its fields that are plain numbers.

use std::collections::BTreeSet;

use qdrant_client::qdrant::{Condition, Filter as Conditions, Range};
use ragstone_core::document::DocumentMetadata;
use ragstone_core::filter::{FieldComparison, FilterList, MetadataFilter};
use serde_json::{Value, json};

use super::payload::{NUMBERS, TERMS};
use super::scope::{field_is, field_is_any};

/// From this magnitude on, different integers may be equal as doubles, so numbers are compared here and not by Qdrant.
const EXACT_NUMBERS: f64 = 9_007_199_254_740_992.0;

/// A condition that matches everything the filter matches, and perhaps more.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FilterApproximation {
    /// The condition; `None` matches everything.
    pub condition: Option<Condition>,
    /// Whether the condition matches nothing more than the filter.
    pub exact: bool,
}

/// Translates `filter` to a condition.
pub(super) fn approximate_filter(filter: &MetadataFilter) -> FilterApproximation {
    approximate_part(filter, false)
}

/// Keywords of a point with these fields, used for equality.
pub(super) fn field_terms(fields: &DocumentMetadata) -> BTreeSet<String> {
    let mut terms = BTreeSet::new();
    for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        terms.insert(existence_term(key));
        add_leaves(key, value, &mut terms);
    }
    terms
}

/// Fields that are plain numbers, used for order comparisons.
pub(super) fn field_numbers(fields: &DocumentMetadata) -> impl Iterator<Item = (&String, f64)> {
    let number = |(key, value): (_, &Value)| Some((key, value.as_f64()?));
    fields
        .iter()
        .filter_map(number)
        .filter(|(key, _)| number_path(key).is_some())
}

fn add_leaves(key: &str, value: &Value, terms: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| add_leaves(key, item, terms)),
        Value::Null | Value::Object(_) => {}
        _ => {
            terms.insert(value_term(key, value));
        }
    }
}

fn existence_term(key: &str) -> String {
    json!([key]).to_string()
}

fn value_term(key: &str, value: &Value) -> String {
    match value.as_f64() {
        // Adding zero makes one term of -0 and 0.
        Some(number) => json!([key, number + 0.0]).to_string(),
        None => json!([key, value]).to_string(),
    }
}

/// Payload path of a field's number; `None` for a key with a quotation mark, which Qdrant's paths cannot express.
fn number_path(key: &str) -> Option<String> {
    let plain = !key.is_empty() && !key.contains(['"', '\\']) && !key.contains(char::is_control);
    plain.then(|| format!("{NUMBERS}.\"{key}\""))
}

/// Negations are pushed down to the comparisons: the negation of a condition that matches too much would match too
/// little.
fn approximate_part(filter: &MetadataFilter, negated: bool) -> FilterApproximation {
    match (filter, negated) {
        (MetadataFilter::And(parts), false) | (MetadataFilter::Or(parts), true) => all_of(parts, negated),
        (MetadataFilter::Or(parts), false) | (MetadataFilter::And(parts), true) => any_of(parts, negated),
        (MetadataFilter::Not(parts), false) => all_of(parts, true),
        (MetadataFilter::Not(parts), true) => any_of(parts, false),
        (comparison, false) => approximate_comparison(comparison),
        (comparison, true) => negate_exact(approximate_comparison(comparison)),
    }
}

fn all_of(parts: &FilterList, negated: bool) -> FilterApproximation {
    let parts: Vec<FilterApproximation> = parts
        .filters
        .iter()
        .map(|part| approximate_part(part, negated))
        .collect();
    let exact = parts.iter().all(|part| part.exact);
    let conditions: Vec<Condition> = parts.into_iter().filter_map(|part| part.condition).collect();
    FilterApproximation {
        condition: (!conditions.is_empty()).then(|| Conditions::must(conditions).into()),
        exact,
    }
}

fn any_of(parts: &FilterList, negated: bool) -> FilterApproximation {
    let parts: Vec<FilterApproximation> = parts
        .filters
        .iter()
        .map(|part| approximate_part(part, negated))
        .collect();
    let exact = parts.iter().all(|part| part.exact);
    let conditions: Option<Vec<Condition>> = parts.into_iter().map(|part| part.condition).collect();
    let condition = conditions.map(|conditions| match conditions.is_empty() {
        true => match_nothing(),
        false => Conditions::should(conditions).into(),
    });
    FilterApproximation { condition, exact }
}

fn negate_exact(cover: FilterApproximation) -> FilterApproximation {
    let inside = cover.condition.filter(|_| cover.exact);
    FilterApproximation {
        condition: inside.map(|condition| Conditions::must_not([condition]).into()),
        exact: cover.exact,
    }
}

fn approximate_comparison(filter: &MetadataFilter) -> FilterApproximation {
    match filter {
        MetadataFilter::Eq(c) => equal_to_any(c, std::slice::from_ref(&c.value), false),
        MetadataFilter::Ne(c) => equal_to_any(c, std::slice::from_ref(&c.value), true),
        MetadataFilter::In(c) | MetadataFilter::Nin(c) => {
            let values = c.value.as_array().map_or(&[][..], Vec::as_slice);
            equal_to_any(c, values, matches!(filter, MetadataFilter::Nin(_)))
        }
        MetadataFilter::Gt(c) => number_range(c, |value| Range {
            gt: Some(value),
            ..Range::default()
        }),
        MetadataFilter::Gte(c) => number_range(c, |value| Range {
            gte: Some(value),
            ..Range::default()
        }),
        MetadataFilter::Lt(c) => number_range(c, |value| Range {
            lt: Some(value),
            ..Range::default()
        }),
        MetadataFilter::Lte(c) => number_range(c, |value| Range {
            lte: Some(value),
            ..Range::default()
        }),
        MetadataFilter::Prefix(c) => exists_at_least(c),
        MetadataFilter::And(_) | MetadataFilter::Or(_) | MetadataFilter::Not(_) => approximate_part(filter, false),
    }
}

/// The field exists, and it is (or is not, if `opposed`) one of the values.
fn equal_to_any(c: &FieldComparison, values: &[Value], opposed: bool) -> FilterApproximation {
    if !values.iter().all(is_exact) {
        return exists_at_least(c);
    }
    let wanted: Vec<String> = values.iter().map(|value| value_term(&c.key, value)).collect();
    let found = match wanted.is_empty() {
        true => match_nothing(),
        false => field_is_any(TERMS, wanted),
    };
    let condition = match opposed {
        false => found,
        true => Conditions {
            must: vec![field_exists(c)],
            must_not: vec![found],
            ..Conditions::default()
        }
        .into(),
    };
    FilterApproximation {
        condition: Some(condition),
        exact: true,
    }
}

fn number_range(c: &FieldComparison, range: impl Fn(f64) -> Range) -> FilterApproximation {
    let number = c.value.as_f64().filter(|_| is_exact(&c.value));
    match number.zip(number_path(&c.key)) {
        Some((number, path)) => FilterApproximation {
            condition: Some(Condition::range(path, range(number))),
            exact: true,
        },
        None => exists_at_least(c),
    }
}

/// Condition for order and prefix comparisons of texts, which Qdrant does not support: the field exists.
fn exists_at_least(c: &FieldComparison) -> FilterApproximation {
    FilterApproximation {
        condition: Some(field_exists(c)),
        exact: false,
    }
}

fn field_exists(c: &FieldComparison) -> Condition {
    field_is(TERMS, existence_term(&c.key))
}

/// A list of keywords that is empty matches nothing.
fn match_nothing() -> Condition {
    field_is_any(TERMS, Vec::new())
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Bool(_) => true,
        Value::Number(_) => value.as_f64().is_some_and(|number| number.abs() < EXACT_NUMBERS),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: Value, narrows: bool, exact: bool) {
        let cover = approximate_filter(&MetadataFilter::from_json(&filter).unwrap());
        assert_eq!((cover.condition.is_some(), cover.exact), (narrows, exact), "{filter}");
    }

    #[test]
    fn what_qdrant_can_decide_is_exact_and_the_rest_is_looked_at_again() {
        let c = |kind: &str, value: Value| json!({"type": kind, "key": "k", "value": value});
        let not = |part: Value| json!({"type": "not", "filters": [part]});
        let both = |kind: &str, a: Value, b: Value| json!({"type": kind, "filters": [a, b]});
        check(c("eq", json!("x")), true, true);
        check(c("eq", json!(3)), true, true);
        check(c("eq", json!(9_007_199_254_740_993_i64)), true, false);
        check(c("nin", json!([])), true, true);
        check(c("gt", json!(3)), true, true);
        check(c("gt", json!("2024")), true, false);
        check(c("prefix", json!("x")), true, false);
        check(not(c("eq", json!("x"))), true, true);
        check(not(c("prefix", json!("x"))), false, false);
        check(
            both("or", c("eq", json!(1)), not(c("prefix", json!("x")))),
            false,
            false,
        );
        check(
            both("and", c("eq", json!(1)), not(c("prefix", json!("x")))),
            true,
            false,
        );
        check(not(both("and", c("eq", json!(1)), c("lt", json!(2)))), true, true);
    }

    #[test]
    fn terms_hold_every_scalar_once() {
        let fields = json!({"a": [1, [1.0, "x"], {"b": 2}], "n": null, "z": -0.0, "e": []});
        let terms = field_terms(fields.as_object().unwrap());
        let expected = [
            r#"["a",1.0]"#,
            r#"["a","x"]"#,
            r#"["a"]"#,
            r#"["e"]"#,
            r#"["z",0.0]"#,
            r#"["z"]"#,
        ];
        assert_eq!(terms, expected.map(String::from).into());
    }

    #[test]
    fn numbers_are_plain_numbers_under_names_that_can_be_written() {
        let fields = json!({"a b": 1, "l": [2], "t": "3", "q\"": 4});
        let numbers: Vec<_> = field_numbers(fields.as_object().unwrap()).collect();
        assert_eq!(numbers, [(&"a b".to_owned(), 1.0)]);
    }
}
