//! Evaluation: a set of questions, what the product made of them, how good that was, and whether it was better before.
//!
//! What needs no judge is measured by [`measure()`]; [`judge()`] adds what a model says. [`compare()`] holds two runs
//! against each other over the same questions.
//!
//! Invariant: equal sets and outcomes give equal figures; a question that failed is never left out of a mean unnoticed.

mod compare;
mod document_name;
mod draft;
mod fingerprint;
mod judge;
mod measure;
mod outcome;
mod set;
mod summary;

pub use compare::{Compared, compare};
pub use document_name::remove_names_of;
pub use draft::{Draft, DraftError, draft};
pub use fingerprint::{Fingerprint, Incomparable};
pub use judge::{ModelJudge, judge};
pub use measure::measure;
pub use outcome::{Cited, Outcome, Shown};
pub use set::{Caller, Question, SetError, parse_beir, parse_jsonl};
pub use summary::{LATENCIES, Scores, Summary, summarise};

/// Seed of every resampling, so that equal outcomes give equal figures.
const SEED: u64 = 20_240_229;
