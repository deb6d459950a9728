//! The outside world behind Ragstone's seams.

pub mod embed;
pub mod parse;
