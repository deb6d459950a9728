//! Metrics of retrieval and of answers, and the statistical tests for their means and differences.
//!
//! Invariant: no clock and no global randomness; equal input and seed give equal results.

pub mod answer;
pub mod bootstrap;
pub mod permutation;
pub mod ragas;
pub mod ranking;
pub mod refusal;
pub mod trec;
