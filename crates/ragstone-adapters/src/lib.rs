//! The outside world behind Ragstone's seams.
//!
//! Invariant: no module here reads the environment or asks which program it runs in; both are handed in.

pub mod index;
