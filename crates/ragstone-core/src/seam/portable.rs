//! Moving house: a published version taken out of one library and put into another, as it is.
//!
//! Invariant: what is put in is what was taken out, readers above all; nothing that the library has is overwritten. A
//! version is put in under a lease like any other work, so whoever dies over it leaves a job that somebody finishes.

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

/// A published version with everything that a catalogue knows of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportedVersion {
    /// Derived from tenant, collection, source and URI.
    pub id: DocumentId,
    /// Its collection.
    pub collection: CollectionName,
    /// Its source.
    pub source: SourceName,
    /// Its name within the source.
    pub uri: String,
    /// The file name.
    pub name: String,
    /// The title that a caller gave.
    pub given_title: Option<String>,
    /// The title of the published version.
    pub title: String,
    /// What the sender said the bytes are.
    pub declared_media_type: Option<String>,
    /// What name and bytes showed.
    pub media_type: String,
    /// Counts its versions, from 1.
    pub version: u64,
    /// BLAKE3 of the original.
    pub content_hash: ContentHash,
    /// Bytes of the original.
    pub bytes: u64,
    /// Pages, where the format has pages.
    pub pages: Option<u32>,
    /// Chunks.
    pub chunks: u32,
    /// Who may read it.
    pub acl: Acl,
    /// The revision of that.
    pub acl_revision: u64,
    /// The caller's key-value pairs.
    pub metadata: DocumentMetadata,
    /// The department it was given to, if any.
    pub department_id: Option<String>,
    /// Where a person can open it; what is no address of the web is left behind.
    #[serde(default, deserialize_with = "SourceUrl::of_any")]
    pub source_url: Option<SourceUrl>,
    /// What the parser warned of.
    pub warnings: Vec<ParseWarning>,
    /// The pipeline that made it.
    pub pipeline: String,
    /// What it adds to the term statistics.
    pub statistics: StatisticsDelta,
    /// The generation that is published in the library it was taken from.
    pub generation: Generation,
    /// First accepted.
    pub created_at: OffsetDateTime,
    /// Last changed.
    pub updated_at: OffsetDateTime,
}

impl ExportedVersion {
    /// Whether `other` says the same of the same bytes. Which pipeline made it, and when, is each library's own affair.
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

    /// What is too much of it for a library to take in, if anything.
    pub fn describe_excess(&self) -> Option<String> {
        let bounded = BoundedMetadata::try_from(self.metadata.clone());
        let fits = self.uri.len() <= MAX_URI_BYTES && !self.uri.chars().any(char::is_control);
        match bounded {
            Err(error) => Some(error.to_string()),
            Ok(_) if !fits => Some(UriError::Malformed.to_string()),
            Ok(_) => None,
        }
    }

    /// Whether its id is that of the document it describes.
    pub fn has_correct_id(&self) -> bool {
        self.id == DocumentId::from_uri(&self.acl.tenant, &self.collection, &self.source, &self.uri)
    }
}

/// A chunk with all that an index holds of it, but for what follows from its document.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportedChunk {
    /// The chunk.
    pub chunk: Chunk,
    /// Its vector; none in a lexical library.
    pub dense: Option<Vec<f32>>,
    /// Document-side weights of terms and pairs.
    pub lexical: SparseVector,
    /// How well the encoder reads it.
    pub gate: f32,
    /// Token vectors for late interaction.
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

/// Who puts a version in, and until when nobody else does.
#[derive(Debug, Clone, Copy)]
pub struct LeaseHolder {
    /// The worker.
    pub worker: WorkerId,
    /// How long its lease holds without a sign of life.
    pub lease: Duration,
    /// This moment.
    pub now: ClockReading,
}

/// What came of putting a version in.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one for each document; nobody keeps many")]
pub enum BeginImportOutcome {
    /// The library has the same.
    Unchanged,
    /// The library has another one, which stays.
    SkippedExisting,
    /// Its row is written, and its points and blobs are the claim's to write; `publish` ends it.
    Begun(ClaimedJob),
}

/// Takes published versions out of a catalogue and puts them in.
#[async_trait]
pub trait ExportStore: Send + Sync {
    /// The published version of a document, whatever its tenant: for who moves the whole library, and for nothing else.
    /// None where there is none, or it is tombstoned.
    async fn export_version(&self, document: DocumentId) -> CatalogueResult<Option<ExportedVersion>>;

    /// Begins to put a version in, with a job that `holder` has. Its original waits at `incoming`. What the library began
    /// of the same bytes and never published is taken over.
    async fn begin_import(
        &self,
        scope: &Scope,
        packed: &ExportedVersion,
        incoming: &str,
        job: JobId,
        holder: LeaseHolder,
    ) -> CatalogueResult<BeginImportOutcome>;
}

/// Reads points as they were stored.
#[async_trait]
pub trait PointReader: Send + Sync {
    /// The points of one generation, visible or not, whatever their ACL, by ordinal from `from` on, at most `limit`: for
    /// who moves the whole library, and for nothing else.
    async fn read_points(
        &self,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<IndexPoint>, IndexError>;
}

/// Where the parts of a packed version are read.
pub trait ExportedContent: Send + Sync {
    /// The original bytes.
    fn read_original(&self) -> BoxStream<'_, std::io::Result<bytes::Bytes>>;

    /// The stored text, as an object of the blob store.
    fn read_text(&self) -> BoxStream<'_, std::io::Result<bytes::Bytes>>;

    /// The chunks by ordinal, some at a time.
    fn read_chunks(&self) -> BoxStream<'_, std::io::Result<Vec<ExportedChunk>>>;
}
