//! Measures of retrieval, and how far a measured mean may be trusted.
//!
//! Invariant: no clock and no global randomness; equal input and seed give equal figures.

pub mod bootstrap;
pub mod ragas;
pub mod ranking;
pub mod trec;
