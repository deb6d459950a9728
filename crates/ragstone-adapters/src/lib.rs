//! placeholder

pub mod catalogue;
pub mod data_dir;
pub mod index;
#[cfg(feature = "sqlite")]
pub mod sqlite;
