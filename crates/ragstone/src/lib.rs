//! The process: settings, wiring, the command line, HTTP and background work.

pub mod http;
