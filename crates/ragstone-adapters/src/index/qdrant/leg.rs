//! One leg of a search: the query vector and search parameters of a list.

use qdrant_client::qdrant::{AcornSearchParams, QuantizationSearchParams, SearchParams, SparseVector};

/// Oversampling: the graph search over quantised vectors returns this many times the wanted points, to be rescored by
/// whole vectors.
const OVERSAMPLING: f64 = 2.0;

/// Query of one leg.
#[derive(Clone)]
pub(super) enum SearchLeg {
    Dense { vector: Vec<f32>, exact: bool },
    Lexical(SparseVector),
}

impl SearchLeg {
    /// Whether the query has no terms; Qdrant refuses an empty vector.
    pub fn is_empty(&self) -> bool {
        matches!(self, SearchLeg::Lexical(terms) if terms.indices.is_empty())
    }

    /// Search parameters; a graph search uses `breadth` as its `hnsw_ef`.
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
                // No effect for a collection without quantisation.
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
