//! Qdrant's rules in a simple form: which points a filter matches, and how a vector scores.

use std::collections::HashMap;

use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{Condition, FieldCondition, Filter, Range, SparseVector, Value, vector_input::Variant};

/// A point as the server keeps it.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Its payload.
    pub payload: HashMap<String, Value>,
    /// Its dense vector.
    pub dense: Option<Vec<f32>>,
    /// Its sparse vector.
    pub sparse: Option<SparseVector>,
}

/// A filter whose lists are all empty lets everything through.
pub fn passes(point: &Stored, filter: &Filter) -> bool {
    assert!(filter.min_should.is_none(), "the adapter does not use min_should");
    let check = |condition: &Condition| holds(point, condition);
    (filter.should.is_empty() || filter.should.iter().any(check))
        && filter.must.iter().all(check)
        && !filter.must_not.iter().any(check)
}

fn holds(point: &Stored, condition: &Condition) -> bool {
    match condition.condition_one_of.as_ref().expect("a condition says something") {
        ConditionOneOf::Field(field) => field_holds(point, field),
        ConditionOneOf::IsEmpty(empty) => match at(point, &empty.key) {
            None | Some(Kind::NullValue(_)) => true,
            Some(Kind::ListValue(list)) => list.values.is_empty(),
            Some(_) => false,
        },
        ConditionOneOf::HasId(ids) => ids.has_id.iter().any(|id| *id == point.id.as_str().into()),
        ConditionOneOf::Filter(filter) => passes(point, filter),
        other => panic!("the adapter does not use {other:?}"),
    }
}

/// A field that is a list passes if one of its items does.
fn field_holds(point: &Stored, field: &FieldCondition) -> bool {
    let values: Vec<&Kind> = match at(point, &field.key) {
        None => Vec::new(),
        Some(Kind::ListValue(list)) => list.values.iter().filter_map(|value| value.kind.as_ref()).collect(),
        Some(kind) => vec![kind],
    };
    let wanted = field.r#match.as_ref().and_then(|wanted| wanted.match_value.as_ref());
    match (wanted, &field.range) {
        (Some(wanted), None) => values.into_iter().any(|value| matches(value, wanted)),
        (None, Some(range)) => values.into_iter().any(|value| is_within(value, range)),
        _ => panic!("the adapter asks one thing of a field"),
    }
}

fn matches(value: &Kind, wanted: &MatchValue) -> bool {
    match (value, wanted) {
        (Kind::StringValue(value), MatchValue::Keyword(wanted)) => value == wanted,
        (Kind::StringValue(value), MatchValue::Keywords(wanted)) => wanted.strings.contains(value),
        (Kind::BoolValue(value), MatchValue::Boolean(wanted)) => value == wanted,
        (Kind::IntegerValue(value), MatchValue::Integer(wanted)) => value == wanted,
        _ => false,
    }
}

fn is_within(value: &Kind, range: &Range) -> bool {
    let number = match value {
        Kind::IntegerValue(number) => *number as f64,
        Kind::DoubleValue(number) => *number,
        _ => return false,
    };
    range.gt.is_none_or(|bound| number > bound)
        && range.gte.is_none_or(|bound| number >= bound)
        && range.lt.is_none_or(|bound| number < bound)
        && range.lte.is_none_or(|bound| number <= bound)
}

/// `key`, or `key."quoted key"`.
fn at<'a>(point: &'a Stored, path: &str) -> Option<&'a Kind> {
    let Some((key, quoted)) = path.split_once('.') else {
        return point.payload.get(path)?.kind.as_ref();
    };
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    match point.payload.get(key)?.kind.as_ref()? {
        Kind::StructValue(fields) => fields.fields.get(inner)?.kind.as_ref(),
        _ => None,
    }
}

/// What the query's vector scores; none where the point has no such vector, or shares no term.
pub fn score(point: &Stored, query: &Variant) -> Option<f32> {
    match query {
        Variant::Dense(query) => {
            let vector = point.dense.as_ref()?;
            Some(vector.iter().zip(&query.data).map(|(a, b)| a * b).sum())
        }
        Variant::Sparse(query) => {
            let vector = point.sparse.as_ref()?;
            let weights: HashMap<_, _> = vector.indices.iter().zip(&vector.values).collect();
            let asked = query.indices.iter().zip(&query.values);
            let shared: Vec<f32> = asked
                .filter_map(|(term, idf)| Some(idf * *weights.get(term)?))
                .collect();
            (!shared.is_empty()).then(|| shared.into_iter().sum())
        }
        other => panic!("the adapter does not use {other:?}"),
    }
}
