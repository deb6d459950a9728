//! Tokens of real keys, against issuers that serve their key sets over HTTP on this machine; time is handed in.

pub mod support;

mod attacks;
mod claims;
mod door;
mod forms;
mod rotation;
mod speed;
