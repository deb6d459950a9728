//! Export and import: a published version is copied unchanged from one library to another.
//!
//! Invariant: an import stores exactly what was exported, above all its readers, and overwrites nothing that the
//! library has. An import runs under a lease like any other job, so if its process dies, another worker finishes the
//! job.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::catalogue::{CatalogueResult, ClaimedJob, ClockReading, StatisticsDelta};
use super::index::{IndexError, IndexPoint};
use crate::access::{Acl, Scope};
use crate::document::{
    BoundedMetadata, Chunk, DocumentMetadata, MAX_URI_BYTES, ParseWarning, SourceUrl, UriError, WorkerId,
};
use crate::id::{CollectionName, ContentHash, DocumentId, Generation, JobId, SourceName};
use crate::rank::bm25::SparseVector;

/// A published version with all that the catalogue stores about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportedVersion {
    /// Document id, derived from tenant, collection, source and URI.
    pub id: DocumentId,
    /// Collection of the document.
    pub collection: CollectionName,
    /// Source of the document.
    pub source: SourceName,
    /// Name of the document within the source.
    pub uri: String,
    /// File name of the original.
    pub name: String,
    /// The title given by the caller, if any.
    pub given_title: Option<String>,
    /// The title of the published version.
    pub title: String,
    /// Media type that the sender declared, if any.
    pub declared_media_type: Option<String>,
    /// Media type detected from file name and bytes.
    pub media_type: String,
    /// Version number of the document, from 1.
    pub version: u64,
    /// BLAKE3 hash of the original.
    pub content_hash: ContentHash,
    /// Size of the original in bytes.
    pub bytes: u64,
    /// Number of pages; `None` for formats without pages.
    pub pages: Option<u32>,
    /// Number of chunks of the version.
    pub chunks: u32,
    /// Who may read the document.
    pub acl: Acl,
    /// Revision number of `acl`.
    pub acl_revision: u64,
    /// Key-value pairs given by the caller.
    pub metadata: DocumentMetadata,
    /// Department given by the caller, if any.
    pub department_id: Option<String>,
    /// Address where a person can open the document; a value that is not a web address is dropped on import.
    #[serde(default, deserialize_with = "SourceUrl::of_any")]
    pub source_url: Option<SourceUrl>,
    /// Warnings of the parser.
    pub warnings: Vec<ParseWarning>,
    /// Fingerprint of the pipeline that made the chunks.
    pub pipeline: String,
    /// Contribution to the term statistics.
    pub statistics: StatisticsDelta,
    /// The published generation in the exporting library.
    pub generation: Generation,
    /// Time at which the document was first accepted.
    pub created_at: OffsetDateTime,
    /// Time of the last change.
    pub updated_at: OffsetDateTime,
}

impl ExportedVersion {
    /// Whether `other` is the same document with equal bytes, name, readers, metadata, department, source URL and given
    /// title. Pipeline and times are ignored, because they differ between libraries.
    pub fn is_same(&self, other: &Self) -> bool {
        let said = |packed: &Self| {
            let Self {
                acl,
                metadata,
                department_id,
                source_url,
                given_title,
                ..
            } = packed.clone();
            (acl, metadata, department_id, source_url, given_title)
        };
        (self.id, self.content_hash, &self.name) == (other.id, other.content_hash, &other.name)
            && said(self) == said(other)
    }

    /// Why this version exceeds a limit of the library (metadata, URI); `None` if it does not.
    pub fn describe_excess(&self) -> Option<String> {
        let bounded = BoundedMetadata::try_from(self.metadata.clone());
        let fits = self.uri.len() <= MAX_URI_BYTES && !self.uri.chars().any(char::is_control);
        match bounded {
            Err(error) => Some(error.to_string()),
            Ok(_) if !fits => Some(UriError::Malformed.to_string()),
            Ok(_) => None,
        }
    }

    /// Whether the id matches tenant, collection, source and URI.
    pub fn has_correct_id(&self) -> bool {
        self.id == DocumentId::from_uri(&self.acl.tenant, &self.collection, &self.source, &self.uri)
    }
}

/// A chunk with everything an index stores about it, except what is derived from its document.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportedChunk {
    /// The chunk with its text.
    pub chunk: Chunk,
    /// Dense vector; `None` in a lexical library.
    pub dense: Option<Vec<f32>>,
    /// Document-side weights of terms and pairs.
    pub lexical: SparseVector,
    /// How well the encoder reads the chunk, 0 to 1 (`rank::gate`).
    pub gate: f32,
    /// Token vectors for late interaction, in `rank::token_bits` form; `None` if the embedder gives none.
    pub tokens: Option<Vec<u8>>,
}

impl From<IndexPoint> for ExportedChunk {
    fn from(point: IndexPoint) -> Self {
        Self {
            chunk: point.chunk,
            dense: point.dense,
            lexical: point.lexical,
            gate: point.gate,
            tokens: point.tokens,
        }
    }
}

/// The worker that runs an import, and the lease it asks for.
#[derive(Debug, Clone, Copy)]
pub struct LeaseHolder {
    /// The worker that takes the lease.
    pub worker: WorkerId,
    /// How long the lease lasts without a heartbeat.
    pub lease: Duration,
    /// Current time at the holder.
    pub now: ClockReading,
}

/// Result of beginning an import.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one for each document; nobody keeps many")]
pub enum BeginImportOutcome {
    /// The library already has the same version.
    Unchanged,
    /// The library has a different version, which is kept.
    SkippedExisting,
    /// The row is written; the holder of the claim now writes points and blobs and ends with `publish_version`.
    Begun(ClaimedJob),
}

/// Exports published versions from a catalogue and imports them.
#[async_trait]
pub trait ExportStore: Send + Sync {
    /// The published version of a document of any tenant. Only for exporting the whole library. `None` if nothing is
    /// published or the document is tombstoned.
    async fn export_version(&self, document: DocumentId) -> CatalogueResult<Option<ExportedVersion>>;

    /// Begins an import with a job that is leased to `holder`. The original waits at blob key `incoming`. A version of
    /// the same bytes that the library began and never published is taken over.
    async fn begin_import(
        &self,
        scope: &Scope,
        packed: &ExportedVersion,
        incoming: &str,
        job: JobId,
        holder: LeaseHolder,
    ) -> CatalogueResult<BeginImportOutcome>;
}

/// Reads points exactly as they were stored.
#[async_trait]
pub trait PointReader: Send + Sync {
    /// The points of one generation by ordinal from `from` on, at most `limit`: visible or not, with any ACL. Only for
    /// exporting the whole library.
    async fn read_points(
        &self,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<IndexPoint>, IndexError>;
}

/// Streams the parts of an exported version.
pub trait ExportedContent: Send + Sync {
    /// The bytes of the original.
    fn read_original(&self) -> BoxStream<'_, std::io::Result<bytes::Bytes>>;

    /// The stored text, in the form of its blob.
    fn read_text(&self) -> BoxStream<'_, std::io::Result<bytes::Bytes>>;

    /// The chunks by ordinal, in batches.
    fn read_chunks(&self) -> BoxStream<'_, std::io::Result<Vec<ExportedChunk>>>;
}
