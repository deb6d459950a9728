//! The outside world behind Ragstone's seams.

pub mod chat;
pub mod embed;
#[cfg(feature = "openai")]
pub mod openai;
