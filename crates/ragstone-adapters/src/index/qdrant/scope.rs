//! Translates a query's scope to conditions of Qdrant.
//!
//! Invariant: the conditions match nothing that the scope does not admit, except for ACLs with more sets than there
//! are payload fields; those are checked again here. An empty list of `must` or `should` would match everything, so
//! none is ever built.

use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::{Condition, Filter, RepeatedStrings};
use ragstone_core::access::{ReaderSet, Scope, ScopedQuery};
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::index::IndexQuery;

use super::payload::{ACL_SETS, COLLECTION, DOCUMENT, GENERATION, LIVE, TENANT};

/// Condition: the payload's `key` is `value`, or a list that contains it. The client's own conversion would search for
/// words if the value has a space.
pub(super) fn field_is(key: &str, value: impl Into<String>) -> Condition {
    Condition::matches(key, MatchValue::Keyword(value.into()))
}

/// Condition: the payload's `key` is one of `values`, or a list that contains one. No values match nothing.
pub(super) fn field_is_any(key: &str, values: Vec<String>) -> Condition {
    Condition::matches(key, MatchValue::Keywords(RepeatedStrings { strings: values }))
}

/// Filter for the points of one document.
pub(super) fn document_filter(document: DocumentId) -> Filter {
    Filter::must([field_is(DOCUMENT, document.to_string())])
}

/// Filter for the points of one generation.
pub(super) fn generation_filter(document: DocumentId, generation: Generation) -> Filter {
    Filter::must([
        field_is(DOCUMENT, document.to_string()),
        field_is(GENERATION, generation.to_string()),
    ])
}

/// Filter for the visible points that `scope` admits.
pub(super) fn visible_filter(scope: &Scope) -> Filter {
    let mut must = vec![
        field_is(TENANT, scope.tenant().as_str()),
        Condition::matches(LIVE, true),
    ];
    let mut must_not = Vec::new();
    match scope.readers() {
        Some(readers) => must.extend(reader_conditions(readers)),
        // A scope with all readers still does not see a document whose first set is empty.
        None => must_not.push(Condition::is_empty(ACL_SETS[0])),
    }
    Filter {
        must,
        must_not,
        ..Filter::default()
    }
}

/// Filter for the visible points that a query may find, without the caller's own filter.
pub(super) fn query_filter(query: &ScopedQuery<IndexQuery>) -> Filter {
    let mut filter = visible_filter(query.scope());
    if let Some(collection) = query.collection() {
        filter.must.push(field_is(COLLECTION, collection.as_str()));
    }
    let without = query.query().excluded.iter();
    let hidden = without.map(|(document, generation)| generation_filter(*document, *generation).into());
    filter.must_not.extend(hidden);
    filter
}

/// Conditions that every set contains one of the readers; the first set must not be empty.
fn reader_conditions(readers: &ReaderSet) -> impl Iterator<Item = Condition> {
    let names: Vec<String> = readers.iter().map(|reader| reader.as_str().to_owned()).collect();
    ACL_SETS.into_iter().enumerate().map(move |(n, key)| {
        let holds = field_is_any(key, names.clone());
        match n {
            0 => holds,
            _ => Filter::should([Condition::is_empty(key), holds]).into(),
        }
    })
}
