//! Vectors as Qdrant returns them.

use std::collections::HashMap;

use qdrant_client::qdrant::vectors_output::VectorsOptions;
use qdrant_client::qdrant::with_vectors_selector::SelectorOptions;
use qdrant_client::qdrant::{
    RetrievedPoint, VectorOutput, VectorsOutput, VectorsSelector, WithVectorsSelector, vector_output,
};

use super::payload::{DENSE, LEXICAL};

/// The vectors of a stored point.
#[derive(Debug, Default)]
pub(super) struct StoredVectors {
    pub dense: Option<Vec<f32>>,
    /// Weights of words and pairs, by term id.
    pub lexical: Vec<(u32, f32)>,
}

impl StoredVectors {
    /// Takes the vectors out of `found`.
    pub fn take_from(found: &mut RetrievedPoint) -> Self {
        let mut named = match found.vectors.take() {
            Some(VectorsOutput {
                vectors_options: Some(VectorsOptions::Vectors(named)),
            }) => named.vectors,
            _ => HashMap::new(),
        };
        let mut take = |name: &str| named.remove(name).map(VectorOutput::into_vector);
        let dense = match take(DENSE) {
            Some(vector_output::Vector::Dense(dense)) => Some(dense.data),
            _ => None,
        };
        let mut lexical: Vec<(u32, f32)> = match take(LEXICAL) {
            Some(vector_output::Vector::Sparse(sparse)) => sparse.indices.into_iter().zip(sparse.values).collect(),
            _ => Vec::new(),
        };
        lexical.sort_unstable_by_key(|(term, _)| *term);
        Self { dense, lexical }
    }

    /// Weight of a term; `None` if the point does not contain it.
    pub fn term_weight(&self, term: u32) -> Option<f32> {
        let at = self.lexical.binary_search_by_key(&term, |(term, _)| *term).ok()?;
        Some(self.lexical[at].1)
    }
}

/// Selector for these vectors. Qdrant refuses the name of a vector that the collection does not have.
pub(super) fn include_vectors(names: &[&str]) -> WithVectorsSelector {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    WithVectorsSelector {
        selector_options: Some(SelectorOptions::Include(VectorsSelector { names })),
    }
}
