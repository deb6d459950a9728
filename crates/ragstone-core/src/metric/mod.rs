//! Measures of retrieval and of answers, and how far a measured mean or difference may be trusted.
//!
//! Invariant: no clock and no global randomness; equal input and seed give equal figures.

pub mod answer;
pub mod bootstrap;
pub mod permutation;
pub mod ragas;
pub mod ranking;
pub mod refusal;
pub mod trec;
