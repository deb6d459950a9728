//! Seams: the traits through which the core uses databases, indexes, models and sources, with their error types.
//!
//! Invariant: no production implementation lives here; every implementation of a seam passes that seam's contract
//! suite.

pub mod attachments;
pub mod audit;
pub mod catalogue;
pub mod chat;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
#[cfg(any(test, feature = "contract"))]
pub mod contract_chat;
#[cfg(any(test, feature = "contract"))]
pub mod contract_embedder;
pub mod doorbell;
pub mod embedder;
pub mod embedding_cache;
pub mod evaluations;
#[cfg(any(test, feature = "contract"))]
pub mod fake;
#[cfg(any(test, feature = "contract"))]
pub mod fake_chat;
pub mod feedback;
pub mod idempotency;
pub mod index;
pub mod keys;
pub mod manifest;
pub mod parser;
pub mod portable;
pub mod source;
pub mod usage;

pub use attachments::AttachmentStore;
pub use audit::ConsistencyScan;
pub use catalogue::{Catalogue, CatalogueError};
pub use chat::{ChatError, ChatModel};
pub use doorbell::Notifier;
pub use embedder::{EmbedError, Embedder};
pub use embedding_cache::EmbeddingCache;
pub use evaluations::EvaluationStore;
pub use feedback::FeedbackStore;
pub use idempotency::IdempotencyStore;
pub use index::{IndexError, VectorIndex};
pub use keys::KeyStore;
pub use manifest::ManifestStore;
pub use parser::{DocumentParser, ParseFailure};
pub use portable::{ExportStore, PointReader};
pub use source::{DocumentSource, SourceError, SourceStore};
pub use usage::UsageStore;
