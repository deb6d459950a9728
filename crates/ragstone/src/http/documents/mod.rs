//! Documents: taking them in, showing, changing and deleting them.

pub(super) mod chunks;
pub(super) mod content;
pub(super) mod delete;
mod form;
pub(super) mod get;
pub(super) mod list;
pub(super) mod page;
pub(super) mod patch;
pub(super) mod upload;

#[cfg(test)]
mod tests;
