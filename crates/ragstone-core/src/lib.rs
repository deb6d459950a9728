//! What Ragstone means, without any input or output.

pub mod document;
