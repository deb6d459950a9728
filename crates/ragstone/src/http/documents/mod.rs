//! `/api/v1/documents`: uploading, reading, changing and deleting documents.

mod changeable;
pub(super) mod chunks;
pub(super) mod content;
pub(super) mod delete;
mod form;
pub(super) mod get;
mod idempotency;
pub(super) mod list;
pub(super) mod page;
pub(super) mod patch;
mod receive;
pub(super) mod upload;

pub(super) use idempotency::InFlightKeys;

#[cfg(test)]
mod bound_tests;
#[cfg(test)]
mod name_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod writer_tests;
