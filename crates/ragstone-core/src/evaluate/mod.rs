//! Evaluation: a set of questions, what the product made of them, how good that was, and whether it was better before.
//!
//! What needs no judge is measured by [`measure_outcome()`]; [`judge_answer()`] adds what a model says. [`compare_runs()`] holds two runs
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

pub use compare::{MetricComparison, compare_runs};
pub use document_name::remove_matching_names;
pub use draft::{DraftError, QuestionDraft, draft_questions};
pub use fingerprint::{IncomparableRunsError, RunFingerprint};
pub use judge::{ModelJudge, judge_answer};
pub use measure::measure_outcome;
pub use outcome::{OutcomeCitation, OutcomePassage, QuestionOutcome};
pub use set::{EvaluationQuestion, QuestionCaller, SetError, parse_beir, parse_jsonl};
pub use summary::{LATENCIES, MetricScores, MetricSummary, summarise_scores};

/// Seed of every resampling, so that equal outcomes give equal figures.
const SEED: u64 = 20_240_229;
