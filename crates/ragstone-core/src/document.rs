//! The central data types: documents, chunks, and the jobs that work on them.
//!
//! Invariant: every byte range is UTF-8 bytes in the document's extracted text, on character boundaries.

mod link;
mod metadata;
mod parsed;
mod uri;

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

pub use link::{MAX_SOURCE_URL_BYTES, SourceUrl, SourceUrlError};
pub use metadata::{BoundedMetadata, MAX_METADATA_BYTES, MAX_METADATA_DEPTH, MAX_METADATA_KEYS, MetadataError};
pub use parsed::{AttachedFile, DocumentOutline, PageSpan, ParseWarning, ParsedDocument, SectionSpan};
pub use uri::{ATTACHMENT_MARK, DocumentUri, MAX_URI_BYTES, UriError};

use crate::access::Acl;
use crate::id::{ChunkId, CollectionName, ContentHash, DocumentId, Generation, JobId, SourceName};

/// A byte range of a document's extracted text.
pub type TextRange = Range<usize>;

/// A document's own key-value pairs.
pub type DocumentMetadata = Map<String, Value>;

/// Lifecycle state of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentStatus {
    /// Accepted, but no version is published yet.
    Pending,
    /// A version is published and can be found.
    Published,
    /// No version could be published; `last_error` says why.
    Failed,
    /// Tombstoned: it is invisible and is being purged.
    Deleting,
}

/// A document as the catalogue stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Derived from tenant, collection, source and URI.
    pub id: DocumentId,
    /// The collection it belongs to.
    pub collection: CollectionName,
    /// The source it came from.
    pub source: SourceName,
    /// Its name within the source.
    pub uri: String,
    /// The title that people see.
    pub title: String,
    /// The media type of the published version, else the declared one.
    pub media_type: String,
    /// State in its lifecycle.
    pub status: DocumentStatus,
    /// Number of its newest version, from 1.
    pub version: u64,
    /// The published generation, if any.
    pub published: Option<Generation>,
    /// Hash of the newest accepted bytes.
    pub content_hash: ContentHash,
    /// Size of the newest accepted bytes.
    pub bytes: u64,
    /// Pages of the published version, where the format has pages.
    pub pages: Option<u32>,
    /// Chunks of the published version.
    pub chunks: u32,
    /// Who may read it.
    pub acl: Acl,
    /// Increases with every change of the ACL.
    pub acl_revision: u64,
    /// Subject of the writer who brought its first version; `None` if an administrator or a source did, or if it was
    /// not recorded.
    pub brought_by: Option<String>,
    /// The caller's key-value pairs.
    pub metadata: DocumentMetadata,
    /// The department it was given to, if any.
    pub department_id: Option<String>,
    /// Address where a person can open it.
    pub source_url: Option<SourceUrl>,
    /// Why the newest version could not be published, or a remark for its reader.
    pub last_error: Option<JobError>,
    /// Warnings of the parser about the published version.
    pub warnings: Vec<ParseWarning>,
    /// When it was first accepted.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
}

impl Document {
    /// The fields that a caller's filter may compare: metadata and the document's own, which take precedence.
    pub fn filter_fields(&self) -> DocumentMetadata {
        let mut fields = self.metadata.clone();
        let mut own = |key: &str, value: Value| fields.insert(key.to_owned(), value);
        own("document_id", self.id.to_string().into());
        own("source", self.source.as_str().into());
        own("uri", self.uri.as_str().into());
        own("created_at", format_timestamp(self.created_at).into());
        own("department_id", self.department_id.clone().into());
        fields
    }
}

/// Formats a time as RFC 3339 in UTC with milliseconds, the form of every time in JSON.
pub fn format_timestamp(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (hour, minute, second, milli) = (at.hour(), at.minute(), at.second(), at.millisecond());
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The unit of storage and retrieval: a span of a document's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Derived from document, content, pipeline and ordinal.
    pub id: ChunkId,
    /// The document it is part of.
    pub document_id: DocumentId,
    /// Its position in the document, from 0.
    pub ordinal: u32,
    /// The text of `range`.
    pub text: String,
    /// Byte range in the document's text.
    pub range: TextRange,
    /// The page it stands on, from 1; `None` if the format has no pages.
    pub page: Option<u32>,
    /// The heading path it stands under; `None` outside any section.
    pub section: Option<String>,
}

/// Kind of background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Load, parse, split, embed, index and publish one version of a document.
    Ingest,
    /// Remove everything that is left of a tombstoned document.
    Purge,
    /// A group of jobs. It has no work of its own; its state follows from its children.
    Batch,
}

/// State of a background job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for a worker, also between retries.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Done; the next search sees its result.
    Succeeded,
    /// Final: it is not tried again automatically.
    Failed,
    /// Stopped by a caller or by a newer version.
    Cancelled,
}

impl JobState {
    /// Whether the state is final, so that it will not change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// The step that a job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStage {
    /// Waits for a worker.
    Queued,
    /// Fetches the original bytes.
    Load,
    /// Extracts text from the bytes.
    Parse,
    /// Splits the text into chunks.
    Split,
    /// Embeds the chunks and stores them, batch by batch.
    Embed,
    /// Makes the new version visible.
    Publish,
    /// Removes what is left of the document.
    Purge,
    /// Waits for its children; batches only.
    Children,
    /// Has nothing left to do.
    Done,
}

impl fmt::Display for JobStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Load => "load",
            Self::Parse => "parse",
            Self::Split => "split",
            Self::Embed => "embed",
            Self::Publish => "publish",
            Self::Purge => "purge",
            Self::Children => "children",
            Self::Done => "done",
        })
    }
}

/// Identifies the worker that runs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkerId {
    /// Id of its process.
    pub process: u32,
    /// Its number within the process.
    pub number: u32,
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.process, self.number)
    }
}

/// How many jobs are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobCounts {
    /// Jobs that wait for a worker.
    pub queued: u64,
    /// Jobs that a worker runs.
    pub running: u64,
    /// Jobs that ended with success.
    pub succeeded: u64,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
}

impl JobCounts {
    /// The count of one state, to be changed.
    pub fn count_mut(&mut self, state: JobState) -> &mut u64 {
        match state {
            JobState::Queued => &mut self.queued,
            JobState::Running => &mut self.running,
            JobState::Succeeded => &mut self.succeeded,
            JobState::Failed => &mut self.failed,
            JobState::Cancelled => &mut self.cancelled,
        }
    }

    /// Number of jobs in all states.
    pub fn total(&self) -> u64 {
        self.queued + self.running + self.ended_total()
    }

    /// Number of jobs in a final state.
    pub fn ended_total(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }
}

/// A unit of background work.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Id of the job.
    pub id: JobId,
    /// Kind of its work.
    pub kind: JobKind,
    /// The document it is about; `None` for a batch.
    pub document_id: Option<DocumentId>,
    /// The batch it is part of, if any.
    pub parent: Option<JobId>,
    /// For a batch, how many of its children are in each state.
    pub children: Option<JobCounts>,
    /// The generation it writes or purges.
    pub generation: Generation,
    /// State of the job.
    pub state: JobState,
    /// Step that it is at.
    pub stage: JobStage,
    /// Units done: chunks, or for a batch the children that ended. An attempt with the same total as the one before
    /// continues its count.
    pub done: u64,
    /// Units in all; 0 while unknown.
    pub total: u64,
    /// Units per second of this attempt; `None` while unknown.
    pub rate: Option<f64>,
    /// How often a worker claimed it and did not hand it back.
    pub attempts: u32,
    /// The worker that runs it, if any.
    pub worker: Option<WorkerId>,
    /// Why it failed, or why its last attempt did.
    pub error: Option<JobError>,
    /// When it was queued.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
}

impl Job {
    /// A job that no worker has claimed yet, without document and generation so far.
    pub fn new_queued(id: JobId, kind: JobKind, parent: Option<JobId>, now: OffsetDateTime) -> Self {
        Self {
            id,
            kind,
            document_id: None,
            parent,
            children: None,
            generation: Generation(0),
            state: JobState::Queued,
            stage: JobStage::Queued,
            done: 0,
            total: 0,
            rate: None,
            attempts: 0,
            worker: None,
            error: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Seconds left at the job's rate; `None` unless it runs and its rate is known.
    pub fn seconds_remaining(&self) -> Option<f64> {
        let rate = self.rate.filter(|rate| *rate > 0.0)?;
        let left = self.total.saturating_sub(self.done) as f64;
        (self.state == JobState::Running).then_some(left / rate)
    }
}

/// Why a job failed, for the person who has to act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// A stable code, such as `no_text`.
    pub code: String,
    /// What failed, and for which item.
    pub detail: String,
    /// What to do next.
    pub hint: String,
}
