//! What of a point is told.

use std::collections::HashMap;

use qdrant_client::qdrant::with_payload_selector::SelectorOptions;
use qdrant_client::qdrant::{
    NamedVectorsOutput, RetrievedPoint, Value, VectorOutput, VectorsOutput, WithPayloadSelector,
    WithVectorsSelector, vector_output, vectors_output, with_vectors_selector,
};

use super::evaluate::Stored;

/// The parts of a payload that were asked for.
pub fn selected(
    payload: &HashMap<String, Value>,
    selector: Option<&WithPayloadSelector>,
) -> HashMap<String, Value> {
    match selector.and_then(|selector| selector.selector_options.as_ref()) {
        Some(SelectorOptions::Include(include)) => {
            let mut payload = payload.clone();
            payload.retain(|key, _| include.fields.contains(key));
            payload
        }
        None | Some(SelectorOptions::Enable(false)) => HashMap::new(),
        Some(other) => panic!("the adapter does not use {other:?}"),
    }
}

/// A point that was read.
pub fn retrieved(
    point: &Stored,
    selector: Option<&WithPayloadSelector>,
    vectors: Option<&WithVectorsSelector>,
) -> RetrievedPoint {
    RetrievedPoint {
        id: Some(point.id.as_str().into()),
        payload: selected(&point.payload, selector),
        vectors: vectors.map(|wanted| named(point, wanted)),
        ..RetrievedPoint::default()
    }
}

fn named(point: &Stored, wanted: &WithVectorsSelector) -> VectorsOutput {
    let Some(with_vectors_selector::SelectorOptions::Include(wanted)) = &wanted.selector_options else {
        panic!("the adapter does not use {wanted:?}");
    };
    let stored = [
        (
            "dense",
            point
                .dense
                .clone()
                .map(|data| vector_output::Vector::Dense(data.into())),
        ),
        ("lexical", point.sparse.clone().map(vector_output::Vector::Sparse)),
    ];
    let named = stored.into_iter().filter_map(|(name, vector)| {
        let output = VectorOutput {
            vector: Some(vector?),
            ..VectorOutput::default()
        };
        wanted
            .names
            .iter()
            .any(|wanted| wanted == name)
            .then(|| (name.to_owned(), output))
    });
    VectorsOutput {
        vectors_options: Some(vectors_output::VectorsOptions::Vectors(NamedVectorsOutput {
            vectors: named.collect(),
        })),
    }
}
