//! What a list is made by.

use qdrant_client::qdrant::{AcornSearchParams, QuantizationSearchParams, SearchParams, SparseVector};

/// So many times as many points as wanted are taken from the walk over quantised vectors, to be scored by whole ones.
const OVERSAMPLING: f64 = 2.0;

/// A list is made of one of these.
#[derive(Clone)]
pub(super) enum SearchLeg {
    Dense { vector: Vec<f32>, exact: bool },
    Lexical(SparseVector),
}

impl SearchLeg {
    /// Whether nothing is asked; Qdrant refuses an empty vector.
    pub fn is_empty(&self) -> bool {
        matches!(self, SearchLeg::Lexical(terms) if terms.indices.is_empty())
    }

    /// How it is looked for; a graph is walked `breadth` points broad.
    pub fn search_params(&self, breadth: u64) -> Option<SearchParams> {
        match self {
            SearchLeg::Dense { exact: true, .. } => Some(SearchParams {
                exact: Some(true),
                quantization: Some(QuantizationSearchParams {
                    ignore: Some(true),
                    ..QuantizationSearchParams::default()
                }),
                ..SearchParams::default()
            }),
            SearchLeg::Dense { exact: false, .. } => Some(SearchParams {
                hnsw_ef: Some(breadth),
                acorn: Some(AcornSearchParams {
                    enable: Some(true),
                    max_selectivity: None,
                }),
                // Of no effect where a collection has whole vectors alone.
                quantization: Some(QuantizationSearchParams {
                    rescore: Some(true),
                    oversampling: Some(OVERSAMPLING),
                    ..QuantizationSearchParams::default()
                }),
                ..SearchParams::default()
            }),
            // Sparse vectors are always compared exactly.
            SearchLeg::Lexical(_) => None,
        }
    }
}
