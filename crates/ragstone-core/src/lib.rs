//! What Ragstone means: documents, access, splitting, ranking, citing, and the seams to everything outside.

pub mod metric;
pub mod rank;
