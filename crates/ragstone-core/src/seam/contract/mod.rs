//! Contract suites: what every implementation of a seam must do, written once.
//!
//! A suite is an async function that takes a factory of fresh, empty implementations and panics at the first violation.
//! For every allowed case there is a refused one.

mod admission;
mod attachments;
mod audit;
pub mod catalogue;
mod catalogue_ledger;
mod doorbell;
pub mod embedding_cache;
mod ended_jobs;
mod evaluations;
mod feedback;
mod idempotency;
pub mod index;
mod keys;
mod lexical_index;
mod manifest;
mod model;
mod portable;
mod sample;
mod sources;
mod usage;
mod writers;

pub use audit::audit_contract;
pub use catalogue::catalogue_contract;
pub use doorbell::doorbell_contract;
pub use embedding_cache::embedding_cache_contract;
pub use evaluations::evaluation_contract;
pub use feedback::feedback_contract;
pub use idempotency::idempotency_contract;
pub use index::{growing_index_contract, index_contract};
pub use keys::key_store_contract;
pub use model::{assert_same, expected};
pub use portable::{Moving, point_reader_contract, portable_contract};
pub use sample::{Sample, acl, caller, readers, tenant};
pub use sources::source_store_contract;
pub use usage::usage_contract;
