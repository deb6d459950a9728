//! Ranking by the retrieval recipe: lexical scores, their fusion with cosines, late interaction, sentences to quote.
//! Pure functions over text and numbers.
//!
//! Invariant: this module uses no index, model or store; equal input gives equal output in every process.

pub mod analyzer;
pub mod bm25;
pub mod fusion;
pub mod gate;
pub mod identifier;
pub mod late;
pub mod near_duplicate;
mod porter;
pub mod sentence;
mod stop_words;
pub mod token_bits;

#[cfg(test)]
mod oracle;

pub use bm25::{LexicalQuery, SparseVector, TermId, TermStatistics};
pub use fusion::{BIGRAM_WEIGHT, CANDIDATE_DEPTH};
