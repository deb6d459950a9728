//! Simple in-memory implementations of the seams, for tests. Each passes its contract suite.

mod attachments;
mod audit;
mod catalogue;
mod embedder;
mod embedding_cache;
mod evaluations;
pub mod faults;
mod feedback;
mod hands;
mod house;
mod idempotency;
mod index;
mod keys;
mod manifest;
mod parser;
mod sources;
mod usage;

pub use catalogue::MemoryCatalogue;
pub use embedder::WordEmbedder;
pub use embedding_cache::MemoryEmbeddingCache;
pub use evaluations::MemoryEvaluations;
pub use feedback::MemoryFeedback;
pub use hands::Hands;
pub use house::{House, WORKER, upload, writer};
pub use idempotency::MemoryIdempotency;
pub use index::MemoryIndex;
pub use keys::MemoryKeys;
pub use parser::{DEADLY, ENDLESS, FILE, INNER_FILE, SLOW, TextParser};
pub use sources::MemorySources;
pub use usage::MemoryUsage;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A poisoned lock is used as it is: the test that panicked while it held the lock has already reported why.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
