//! `/api/v1/jobs`: background work and its progress.

pub(super) mod cancel;
pub(super) mod events;
pub(super) mod get;
pub(super) mod list;
pub(super) mod retry;

#[cfg(test)]
mod tests;
