//! Retrieval by recipe.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// A term's id: the first four bytes of BLAKE3 of its UTF-8 form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TermId(pub u32);

/// The document side of a text: weights of terms and of adjacent pairs, sorted by id, equal ids summed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SparseVector {
    /// Single terms.
    pub unigrams: Vec<(TermId, f32)>,
    /// Adjacent pairs.
    pub bigrams: Vec<(TermId, f32)>,
}

/// The question side: idf times repeats of each term and pair.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LexicalQuery {
    /// Single terms.
    pub unigrams: Vec<(TermId, f32)>,
    /// Adjacent pairs.
    pub bigrams: Vec<(TermId, f32)>,
    /// U: the best B that a document could reach; at least 1e-9.
    pub upper: f64,
}

/// What a tenant's published chunks say about terms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TermStatistics {
    /// N: published chunks.
    pub documents: u64,
    /// In how many of them each term stands; absent is 0.
    pub df: HashMap<TermId, u64>,
}

/// Length of each candidate list.
pub const DEPTH: usize = 200;
/// Weight of the pair score inside B'.
pub const W_BIGRAM: f64 = 0.1;
