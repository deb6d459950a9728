//! Catalogues: the truth about documents and jobs.

#[cfg(feature = "sqlite")]
pub mod sqlite;
