//! What a query may see, as conditions of Qdrant.
//!
//! Invariant: the conditions let through nothing that the scope does not admit, but for ACLs of more sets than Qdrant is
//! asked about; those are looked at again. An empty list of `must` or `should` would let everything through, so none is
//! ever made.

use qdrant_client::qdrant::{Condition, Filter};
use ragstone_core::access::{ReaderSet, Scope, ScopedQuery};
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::index::IndexQuery;

use super::payload::{ACL_SETS, COLLECTION, DOCUMENT, GENERATION, LIVE, TENANT};

/// The points of one generation.
pub(super) fn of_generation(document: DocumentId, generation: Generation) -> Filter {
    Filter::must([
        Condition::matches(DOCUMENT, document.to_string()),
        Condition::matches(GENERATION, generation.to_string()),
    ])
}

/// The visible points that `scope` admits.
pub(super) fn visible(scope: &Scope) -> Filter {
    let mut must = vec![
        Condition::matches(TENANT, scope.tenant().as_str().to_owned()),
        Condition::matches(LIVE, true),
    ];
    let mut must_not = Vec::new();
    match scope.readers() {
        Some(readers) => must.extend(granted(readers)),
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
pub(super) fn findable(query: &ScopedQuery<IndexQuery>) -> Filter {
    let mut filter = visible(query.scope());
    if let Some(collection) = query.collection() {
        filter
            .must
            .push(Condition::matches(COLLECTION, collection.as_str().to_owned()));
    }
    let without = query.query().without.iter();
    let hidden = without.map(|(document, generation)| of_generation(*document, *generation).into());
    filter.must_not.extend(hidden);
    filter
}

/// Every set holds one of the readers; the first must be there.
fn granted(readers: &ReaderSet) -> impl Iterator<Item = Condition> {
    let names: Vec<String> = readers.iter().map(|reader| reader.as_str().to_owned()).collect();
    ACL_SETS.into_iter().enumerate().map(move |(n, key)| {
        let holds = Condition::matches(key, names.clone());
        match n {
            0 => holds,
            _ => Filter::should([Condition::is_empty(key), holds]).into(),
        }
    })
}
