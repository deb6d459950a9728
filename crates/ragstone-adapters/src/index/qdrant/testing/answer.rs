//! Builds the server's answers: the requested parts of a point.

use std::collections::HashMap;

use qdrant_client::qdrant::with_payload_selector::SelectorOptions;
use qdrant_client::qdrant::{
    NamedVectorsOutput, RetrievedPoint, Value, VectorOutput, VectorsOutput, WithPayloadSelector, WithVectorsSelector,
    vector_output, vectors_output, with_vectors_selector,
};

use qdrant_client::qdrant::value::Kind;

use super::Traffic;
use super::evaluate::Stored;

/// The parts of a payload that were asked for.
pub fn selected(payload: &HashMap<String, Value>, selector: Option<&WithPayloadSelector>) -> HashMap<String, Value> {
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

impl Traffic {
    /// Counts a point that is given.
    pub fn count_point(&mut self, payload: &HashMap<String, Value>, vectors: Option<&VectorsOutput>) {
        self.points += 1;
        self.payloads += usize::from(!payload.is_empty());
        self.bytes += payload
            .iter()
            .map(|(key, value)| key.len() + size(value))
            .sum::<usize>();
        let Some(vectors_output::VectorsOptions::Vectors(named)) =
            vectors.and_then(|vectors| vectors.vectors_options.as_ref())
        else {
            return;
        };
        self.vectors += named.vectors.len();
        for vector in named.vectors.values() {
            self.bytes += match &vector.vector {
                Some(vector_output::Vector::Dense(dense)) => size_of_val(dense.data.as_slice()),
                Some(vector_output::Vector::Sparse(sparse)) => 2 * size_of_val(sparse.indices.as_slice()),
                _ => 0,
            };
        }
    }
}

fn size(value: &Value) -> usize {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.len(),
        Some(Kind::ListValue(list)) => list.values.iter().map(size).sum(),
        Some(Kind::StructValue(fields)) => fields.fields.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => size_of::<f64>(),
    }
}
