//! The server process and command line: settings, wiring, HTTP and background work.
//!
//! Invariant: only `config` reads the environment, only `wiring` names implementations.

pub mod cli;
mod clock;
pub mod config;
pub mod http;
mod jobs;
mod operator;
mod schedule;
mod telemetry;
mod wiring;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: ragstone_core::counting::CountingAllocator = ragstone_core::counting::CountingAllocator;

/// The argument that starts this program as a parser process.
pub const PARSER_ROLE: &str = "parse-worker";
