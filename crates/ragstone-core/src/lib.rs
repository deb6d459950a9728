//! What Ragstone means.

pub mod document;
pub mod split;
