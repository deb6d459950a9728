//! Shared by both OpenAI-compatible adapters: a client with limits, retries and errors without secrets.

mod client;
mod connection;
mod fault;
mod pieces;
mod sse;

pub use connection::{ApiKeyHeader, ApiSecret, ConnectionError, OpenAiConnection, ServiceLimits};

pub(crate) use client::OpenAiClient;
pub(crate) use fault::{ServiceError, parse_error_body};
pub(crate) use pieces::ReplyBodyReader;
pub(crate) use sse::{DONE, SseReader};
