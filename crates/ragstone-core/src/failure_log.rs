//! The log line that a failure leaves: one WARN line for each request, job, sync and model call that failed, with its id
//! and its code.
//!
//! Invariant: such a line holds ids, codes and causes, never a secret and never the text of a document or question.

/// Target of these lines. A command that reports its failures itself switches them off.
pub const TARGET: &str = "ragstone::failure";
