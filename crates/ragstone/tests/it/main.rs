//! The real program, started as its users start it.

#![allow(clippy::unwrap_used, missing_docs)]

mod cli;
mod disk;
mod fsck;
mod quickstart;
mod settings;
mod support;
mod vectors;
