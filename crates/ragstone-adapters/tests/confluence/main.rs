//! The Confluence source over a real socket, Cloud and Data Center: what a sync makes of pages, blog posts, comments and
//! attachments, who may read them then, and what faults may not do.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![cfg(feature = "confluence")]

mod answers;
mod plain;
mod readers;
mod rough;
mod server;
mod site;
mod world;
