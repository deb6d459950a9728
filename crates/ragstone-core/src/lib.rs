//! Domain logic of Ragstone: documents and access control, splitting, ranking, prompting, citing, and the pipelines of
//! ingestion and answering.
//!
//! Invariant: this crate uses no HTTP, SQL, environment, clock or file system; callers pass them in through the traits
//! of [`seam`].

pub mod access;
pub mod ask;
pub mod cite;
#[cfg(any(test, feature = "contract"))]
pub mod counting;
pub mod document;
pub mod evaluate;
pub mod failure_log;
pub mod filter;
pub mod id;
pub mod ingest;
pub mod library;
pub mod metric;
pub mod nearest;
pub mod prompt;
pub mod rank;
pub mod seam;
pub mod split;
pub mod sync;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: counting::CountingAllocator = counting::CountingAllocator;
