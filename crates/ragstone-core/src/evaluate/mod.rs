//! Evaluation: sets of questions, the product's outcomes, their metrics, and the comparison of two runs.
//!
//! [`measure_outcome()`] computes the metrics that need no judge, [`judge_answer()`] adds those that a model judges.
//! [`compare_runs()`] compares two runs over the same questions.
//!
//! Invariant: equal sets and outcomes give equal results; a failed question is never silently left out of a mean.

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

/// Seed of every resampling, so that equal outcomes give equal results.
const SEED: u64 = 20_240_229;
