//! The outside world behind Ragstone's seams.

pub mod parse;
