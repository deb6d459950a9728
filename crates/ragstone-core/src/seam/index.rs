//! The vector index: stores points, each a chunk as one generation wrote it, and searches them.
//!
//! Invariant: an index is a copy that may be lost and rebuilt. It answers only a [`ScopedQuery`], with both exact
//! scores for every candidate. It computes no statistics: term weights come from `rank`.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::access::{Acl, Scope, ScopedQuery};
use crate::document::{Chunk, DocumentMetadata};
use crate::id::{ChunkId, CollectionName, DocumentId, Generation, PointId};
use crate::rank::bm25::{LexicalQuery, SparseVector};

/// What an index stores; points that do not match are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSpec {
    /// Digest of the embedder's fingerprint; `None` for a lexical index.
    pub embedder: Option<String>,
    /// Length of a dense vector; `None` for a lexical index.
    pub dimensions: Option<usize>,
    /// Name of the lexical analysis (`rank::LEXICAL_NAME`).
    pub lexical: String,
}

/// A chunk as one generation stored it.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexPoint {
    /// Point id, derived from chunk and generation.
    pub id: PointId,
    /// The chunk with its text.
    pub chunk: Chunk,
    /// The collection of its document.
    pub collection: CollectionName,
    /// The generation that stored the point.
    pub generation: Generation,
    /// Who may read the point, including the tenant.
    pub acl: Acl,
    /// Revision number of `acl`.
    pub acl_revision: u64,
    /// Fields that a caller's metadata filter may compare (`Document::filter_fields`).
    pub fields: DocumentMetadata,
    /// Dense vector of unit length; `None` in a lexical index.
    pub dense: Option<Vec<f32>>,
    /// Document-side weights of terms and pairs.
    pub lexical: SparseVector,
    /// How well the encoder reads this chunk, 0 to 1 (`rank::gate`).
    pub gate: f32,
    /// Token vectors for late interaction in `rank::token_bits` form; opaque to the index.
    pub tokens: Option<Vec<u8>>,
}

/// Which candidate lists a search uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchMode {
    /// Dense and lexical candidates.
    #[default]
    Hybrid,
    /// Dense candidates only (vectors).
    Dense,
    /// Lexical candidates only (words).
    Lexical,
}

/// A search over the index.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexQuery {
    /// Which candidate lists to compute.
    pub mode: SearchMode,
    /// Query vector of unit length; `None` without an embedder.
    pub dense: Option<Vec<f32>>,
    /// Query terms with their idf.
    pub lexical: LexicalQuery,
    /// How well the encoder reads the query, 0 to 1.
    pub query_gate: f64,
    /// Length of each candidate list (`rank::fusion::DEPTH`).
    pub depth: usize,
    /// This many of the best hits by the mode's order (F, cosine or B'/U), and all that tie with the last of them, get
    /// scores that are identical to the last digit in every index; other scores are accurate to single precision.
    pub exact_count: usize,
    /// Generations to leave out: set when a search is repeated after stale hits.
    pub excluded: Vec<DocumentGeneration>,
}

/// A document with one of its generations.
pub type DocumentGeneration = (DocumentId, Generation);

/// A search hit, not yet checked against the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexHit {
    /// Id of the point.
    pub point: PointId,
    /// Id of the chunk.
    pub chunk: ChunkId,
    /// Id of the document.
    pub document: DocumentId,
    /// The generation that stored the point.
    pub generation: Generation,
    /// Revision of the ACL that the index filtered by.
    pub acl_revision: u64,
    /// Cosine, -1 to 1; 0 without a dense side.
    pub dense: f64,
    /// B: the BM25 score over single terms.
    pub unigrams: f64,
    /// B2: the BM25 score over pairs of adjacent terms.
    pub bigrams: f64,
}

/// The union of both candidate lists; each hit has both exact scores.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IndexHits {
    /// Gate of this query over these documents: the query's own gate times the mean stored gate of the ten best points
    /// by B (the ten best by cosine if no point has B > 0).
    pub gate: f64,
    /// The hits, in no guaranteed order.
    pub hits: Vec<IndexHit>,
}

/// A stored chunk with its tokens, not yet checked against the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredChunk {
    /// Id of the point.
    pub point: PointId,
    /// The generation that stored the point.
    pub generation: Generation,
    /// The chunk with its text.
    pub chunk: Chunk,
    /// The collection of its document.
    pub collection: CollectionName,
    /// Token vectors; `None` if they were not stored or not requested.
    pub tokens: Option<Vec<u8>>,
}

/// Error of an index.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IndexError {
    /// The index is down or busy; a retry may succeed.
    #[error("the index is unavailable: {detail}")]
    Unavailable {
        /// Cause of the failure.
        detail: String,
    },
    /// The index was built for another spec than the one requested.
    #[error("the index does not fit: {detail}")]
    Mismatch {
        /// What the index holds and what was requested.
        detail: String,
    },
    /// The stored data is corrupt; the index can be rebuilt.
    #[error("the index is damaged: {detail}; hint: run `ragstone index rebuild`")]
    Damaged {
        /// Description of the damage.
        detail: String,
    },
}

/// Stores and searches points.
#[async_trait]
pub trait VectorIndex: Send + Sync {
    /// Prepares the index for `spec`; refuses if it holds points of another embedder or lexical analysis. Points
    /// without vectors fit any embedder: an index created without one starts to accept vectors and keeps its points, or
    /// returns `Mismatch` if its store cannot do so and must be rebuilt.
    async fn prepare_index(&self, spec: &IndexSpec) -> Result<(), IndexError>;

    /// Stores points; they stay invisible until published. Storing the same point again changes nothing.
    async fn upsert_points(&self, points: Vec<IndexPoint>) -> Result<(), IndexError>;

    /// Makes the points of one generation visible to searches.
    async fn publish_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError>;

    /// Removes the points of one generation, visible or not.
    async fn delete_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError>;

    /// Replaces ACL and filter fields of the points of one generation.
    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &DocumentMetadata,
    ) -> Result<(), IndexError>;

    /// Searches visible points: the union of the best `depth` of each side, each with both exact scores (0 only if no
    /// term is shared, or without a dense side). Scores are rounded to 1e-6; ties are ordered by chunk id.
    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<IndexHits, IndexError>;

    /// Text (and token vectors if `with_tokens`) of the visible points that `scope` admits; others are left out.
    async fn get_chunks(
        &self,
        scope: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError>;

    /// The chunks of one generation that `scope` admits, by ordinal from `from` on, at most `limit`.
    async fn list_chunks(
        &self,
        scope: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError>;

    /// Number of stored points, visible or not.
    async fn count_points(&self) -> Result<u64, IndexError>;

    /// Every generation that has points, with their number, of one document or of all. Used by purges and by `fsck`.
    async fn list_generations(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError>;
}
