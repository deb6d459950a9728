//! The real program, started as its users start it.

#![allow(clippy::unwrap_used, missing_docs)]

mod chaos;
mod cli;
mod quickstart;
mod settings;
mod support;
mod vectors;
