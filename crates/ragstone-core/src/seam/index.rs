//! Where chunks are found: an index of points, each a chunk as one generation stored it.
//!
//! Invariant: an index is a copy; it may be lost and built again. It answers a [`ScopedQuery`] only, with both true
//! scores for every candidate, and statistics never come from it: weights are ours (`rank`).

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::access::{Acl, Scope, ScopedQuery};
use crate::document::{Chunk, DocumentMetadata};
use crate::id::{ChunkId, CollectionName, DocumentId, Generation, PointId};
use crate::rank::bm25::{LexicalQuery, SparseVector};

/// What an index holds; points of another spec are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSpec {
    /// Digest of the embedder's fingerprint; none for a lexical index.
    pub embedder: Option<String>,
    /// Length of a dense vector; none for a lexical index.
    pub dimensions: Option<usize>,
    /// Name of the lexical side (`rank::LEXICAL_NAME`).
    pub lexical: String,
}

/// A chunk as one generation stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexPoint {
    /// Derived from chunk and generation.
    pub id: PointId,
    /// The chunk itself.
    pub chunk: Chunk,
    /// The collection of its document.
    pub collection: CollectionName,
    /// The generation that stores it.
    pub generation: Generation,
    /// Who may read it, tenant included.
    pub acl: Acl,
    /// The revision of the ACL.
    pub acl_revision: u64,
    /// What a caller's filter may compare (`Document::filter_fields`).
    pub fields: DocumentMetadata,
    /// Unit length; none in a lexical index.
    pub dense: Option<Vec<f32>>,
    /// Document-side weights of terms and pairs.
    pub lexical: SparseVector,
    /// How well the encoder reads this chunk, 0 to 1 (`rank::gate`).
    pub gate: f32,
    /// Token vectors for late interaction in `rank::token_bits` form; opaque to the index.
    pub tokens: Option<Vec<u8>>,
}

/// Which legs a search stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchMode {
    /// Both.
    #[default]
    Hybrid,
    /// Vectors alone.
    Dense,
    /// Words alone.
    Lexical,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexQuery {
    /// Which candidate lists are made.
    pub mode: SearchMode,
    /// The question's vector, unit length; none where there is no embedder.
    pub dense: Option<Vec<f32>>,
    /// The question's terms with their idf.
    pub lexical: LexicalQuery,
    /// How well the encoder reads the question, 0 to 1.
    pub query_gate: f64,
    /// Length of each candidate list (`rank::fusion::DEPTH`).
    pub depth: usize,
    /// So many of the best by the mode's order (F, cosine or B'/U) carry scores that are the same to the last digit in
    /// every index, and so does what ties with the last of them; others are true to single precision.
    pub exact_count: usize,
    /// Generations that must not be found: a search repeated after stale hits.
    pub excluded: Vec<DocumentGeneration>,
}

/// A document's generation.
pub type DocumentGeneration = (DocumentId, Generation);

/// What an index found, not yet checked.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexHit {
    /// The point.
    pub point: PointId,
    /// Its chunk.
    pub chunk: ChunkId,
    /// Its document.
    pub document: DocumentId,
    /// The generation that stored it.
    pub generation: Generation,
    /// The ACL's revision the index filtered by.
    pub acl_revision: u64,
    /// Cosine, -1 to 1; 0 where there is no dense leg.
    pub dense: f64,
    /// B: the BM25 score of single terms.
    pub unigrams: f64,
    /// B2: the score of adjacent pairs.
    pub bigrams: f64,
}

/// The union of both candidate lists, each hit with both true scores.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IndexHits {
    /// The gate of this question over these documents: the question's own times the mean stored gate of the ten
    /// best points by B (of the ten best by cosine where no point has B > 0).
    pub gate: f64,
    /// In no promised order.
    pub hits: Vec<IndexHit>,
}

/// A point's text and tokens, not yet checked.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredChunk {
    /// The point.
    pub point: PointId,
    /// The generation that stored it.
    pub generation: Generation,
    /// The chunk.
    pub chunk: Chunk,
    /// The collection of its document.
    pub collection: CollectionName,
    /// Token vectors, where they were stored and asked for.
    pub tokens: Option<Vec<u8>>,
}

/// Why an index did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IndexError {
    /// It is down or busy, for a reason that may pass.
    #[error("the index is unavailable: {detail}")]
    Unavailable {
        /// What went wrong.
        detail: String,
    },
    /// It holds something else than what was asked of it.
    #[error("the index does not fit: {detail}")]
    Mismatch {
        /// What it holds and what was wanted.
        detail: String,
    },
    /// What it holds is damaged; it can be built again.
    #[error("the index is damaged: {detail}; hint: run `ragstone index rebuild`")]
    Damaged {
        /// What was found.
        detail: String,
    },
}

/// Where chunks are found.
#[async_trait]
pub trait VectorIndex: Send + Sync {
    /// Makes the index ready for `spec`; refuses if it holds points of another embedder or lexical side. Points without
    /// vectors fit any embedder: an index begun without one takes vectors from here on and keeps what it has, or refuses
    /// (`Mismatch`) where its store cannot; it is then rebuilt.
    async fn prepare_index(&self, spec: &IndexSpec) -> Result<(), IndexError>;

    /// Stores points, not visible yet. The same point again changes nothing.
    async fn upsert_points(&self, points: Vec<IndexPoint>) -> Result<(), IndexError>;

    /// Makes the points of one generation visible.
    async fn publish_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError>;

    /// Removes the points of one generation, visible or not.
    async fn delete_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError>;

    /// Gives the points of one generation another ACL and other filter fields.
    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &DocumentMetadata,
    ) -> Result<(), IndexError>;

    /// The union of the best `depth` visible points of each leg, each with both true scores (0 only where no term is
    /// shared, or there is no dense leg). Ties go by chunk id after rounding to 1e-6.
    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<IndexHits, IndexError>;

    /// Text (and token vectors if `with_tokens`) of visible points that `scope` admits; others are left out.
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

    /// How many points are stored, visible or not.
    async fn count_points(&self) -> Result<u64, IndexError>;

    /// Every generation that has points, with their number; of one document or of all. What a purge removes, and what
    /// `fsck` compares with the catalogue.
    async fn list_generations(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError>;
}
