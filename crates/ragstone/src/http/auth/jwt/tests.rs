//! Tokens signed with real keys, against issuers that serve their key sets over HTTP on this machine; the clock is
//! manual.

pub mod support;

mod attacks;
mod claims;
mod door;
mod forms;
mod rotation;
mod speed;
