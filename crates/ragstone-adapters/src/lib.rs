//! The outside world behind Ragstone's seams.

pub mod catalogue;
pub mod data_dir;
pub mod embed;
pub mod index;
pub mod parse;
#[cfg(feature = "sqlite")]
pub mod sqlite;
