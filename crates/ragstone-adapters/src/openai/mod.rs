//! What both OpenAI-compatible adapters share: one client with limits, retries and errors that hold no secrets.

mod client;
mod connection;
mod fault;
mod pieces;
mod sse;

pub use connection::{Connection, ConnectionError, KeyHeader, Limits, Secret};

pub(crate) use client::Client;
pub(crate) use fault::{Fault, words};
pub(crate) use pieces::Pieces;
pub(crate) use sse::{DONE, SseReader};
