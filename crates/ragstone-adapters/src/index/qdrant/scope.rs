//! What a query may see, as conditions of Qdrant.
//!
//! Invariant: the conditions let through nothing that the scope does not admit, but for ACLs of more sets than Qdrant is
//! asked about; those are looked at again. An empty list of `must` or `should` would let everything through, so none is
//! ever made.

use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::{Condition, Filter, RepeatedStrings};
use ragstone_core::access::{ReaderSet, Scope, ScopedQuery};
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::index::IndexQuery;

use super::payload::{ACL_SETS, COLLECTION, DOCUMENT, GENERATION, LIVE, TENANT};

/// The payload's `key` is `value`, or a list that has it. The client's own conversion would search for words where the
/// value has a space.
pub(super) fn field_is(key: &str, value: impl Into<String>) -> Condition {
    Condition::matches(key, MatchValue::Keyword(value.into()))
}

/// The payload's `key` is one of `values`, or a list that has one. No value matches nothing.
pub(super) fn field_is_any(key: &str, values: Vec<String>) -> Condition {
    Condition::matches(key, MatchValue::Keywords(RepeatedStrings { strings: values }))
}

/// The points of one document.
pub(super) fn document_filter(document: DocumentId) -> Filter {
    Filter::must([field_is(DOCUMENT, document.to_string())])
}

/// The points of one generation.
pub(super) fn generation_filter(document: DocumentId, generation: Generation) -> Filter {
    Filter::must([
        field_is(DOCUMENT, document.to_string()),
        field_is(GENERATION, generation.to_string()),
    ])
}

/// The visible points that `scope` admits.
pub(super) fn visible_filter(scope: &Scope) -> Filter {
    let mut must = vec![
        field_is(TENANT, scope.tenant().as_str()),
        Condition::matches(LIVE, true),
    ];
    let mut must_not = Vec::new();
    match scope.readers() {
        Some(readers) => must.extend(reader_conditions(readers)),
        // Whoever holds all readers still reads nothing that was granted to none.
        None => must_not.push(Condition::is_empty(ACL_SETS[0])),
    }
    Filter {
        must,
        must_not,
        ..Filter::default()
    }
}

/// The visible points that a query may find, but for the caller's own filter.
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

/// Every set holds one of the readers; the first must be there.
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
