//! The outside world behind Ragstone's seams.

pub mod catalogue;
pub mod chat;
pub mod data_dir;
pub mod embed;
pub mod index;
#[cfg(feature = "openai")]
pub mod openai;
pub mod parse;
#[cfg(feature = "sqlite")]
pub mod sqlite;
