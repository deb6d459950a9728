//! Documents, their versions' text, chunks, citations and jobs: the nouns of the product.
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

/// Where a document stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentStatus {
    /// Accepted; no version is published yet.
    Pending,
    /// A version answers questions.
    Published,
    /// No version could be published; `last_error` says why.
    Failed,
    /// Tombstoned: invisible, being purged.
    Deleting,
}

/// A document as the catalogue knows it.
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
    /// What people call it.
    pub title: String,
    /// The media type of the published version, else the declared one.
    pub media_type: String,
    /// Where it stands.
    pub status: DocumentStatus,
    /// Counts its versions, from 1.
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
    /// Grows with every change of the ACL.
    pub acl_revision: u64,
    /// The subject of the writer who brought its first version; none where an administrator or a source did, or nobody
    /// noted it.
    pub brought_by: Option<String>,
    /// The caller's key-value pairs.
    pub metadata: DocumentMetadata,
    /// The department it was given to, if any.
    pub department_id: Option<String>,
    /// Where a person can open it.
    pub source_url: Option<SourceUrl>,
    /// Why the newest version could not be published, or what its reader should know.
    pub last_error: Option<JobError>,
    /// What the parser warned of in the published version.
    pub warnings: Vec<ParseWarning>,
    /// First accepted.
    pub created_at: OffsetDateTime,
    /// Last changed.
    pub updated_at: OffsetDateTime,
}

impl Document {
    /// The fields a caller's filter may compare: metadata, and the document's own, which win.
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

/// RFC 3339 in UTC with milliseconds, the form of every time in JSON.
pub fn format_timestamp(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (hour, minute, second, milli) = (at.hour(), at.minute(), at.second(), at.millisecond());
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The stored unit: a span of a document's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Derived from document, content, pipeline and ordinal.
    pub id: ChunkId,
    /// The document it is part of.
    pub document_id: DocumentId,
    /// Its place in the document, from 0.
    pub ordinal: u32,
    /// The text of `range`.
    pub text: String,
    /// Where it stands.
    pub range: TextRange,
    /// The page it stands on, from 1; none where the format has no pages.
    pub page: Option<u32>,
    /// The heading path it stands under.
    pub section: Option<String>,
}

/// What background work is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Load, parse, split, embed, index and publish one version of a document.
    Ingest,
    /// Remove everything that is left of a tombstoned document.
    Purge,
    /// No work of its own: it is as its children are.
    Batch,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for a worker, also between retries.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Done; what it made is found by the next search.
    Succeeded,
    /// Final: it will not be tried again by itself.
    Failed,
    /// Stopped by a caller or by a newer version.
    Cancelled,
}

impl JobState {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What a job does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStage {
    /// Waits.
    Queued,
    /// Fetches the bytes.
    Load,
    /// Makes text of them.
    Parse,
    /// Cuts the text.
    Split,
    /// Makes vectors and stores them, batch by batch.
    Embed,
    /// Makes the version visible.
    Publish,
    /// Removes what is left.
    Purge,
    /// Its children are at work.
    Children,
    /// Nothing more.
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

/// Who works on a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkerId {
    /// Its process.
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
    /// Waiting.
    pub queued: u64,
    /// At work.
    pub running: u64,
    /// Done.
    pub succeeded: u64,
    /// Failed for good.
    pub failed: u64,
    /// Stopped.
    pub cancelled: u64,
}

impl JobCounts {
    /// The count of one state.
    pub fn count_mut(&mut self, state: JobState) -> &mut u64 {
        match state {
            JobState::Queued => &mut self.queued,
            JobState::Running => &mut self.running,
            JobState::Succeeded => &mut self.succeeded,
            JobState::Failed => &mut self.failed,
            JobState::Cancelled => &mut self.cancelled,
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.queued + self.running + self.ended_total()
    }

    /// Those in a final state.
    pub fn ended_total(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }
}

/// A unit of background work.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it is for.
    pub kind: JobKind,
    /// The document it is about; none for a batch.
    pub document_id: Option<DocumentId>,
    /// The batch it is part of.
    pub parent: Option<JobId>,
    /// How the children of a batch stand.
    pub children: Option<JobCounts>,
    /// The generation it writes or purges.
    pub generation: Generation,
    /// Where it stands.
    pub state: JobState,
    /// What it does.
    pub stage: JobStage,
    /// Units done: chunks, and of a batch the children that ended. An attempt that comes to the same total as the one
    /// before it goes on from there.
    pub done: u64,
    /// Units in all, 0 while unknown.
    pub total: u64,
    /// Units a second of this attempt, once known.
    pub rate: Option<f64>,
    /// How often a worker took it and did not hand it back.
    pub attempts: u32,
    /// Who works on it.
    pub worker: Option<WorkerId>,
    /// Why it failed, or failed last.
    pub error: Option<JobError>,
    /// When it was queued.
    pub created_at: OffsetDateTime,
    /// Last change.
    pub updated_at: OffsetDateTime,
}

impl Job {
    /// A job that nobody has claimed yet, of no document and no generation so far.
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

    /// Seconds that are left at the job's rate; none unless it runs and its rate is known.
    pub fn seconds_remaining(&self) -> Option<f64> {
        let rate = self.rate.filter(|rate| *rate > 0.0)?;
        let left = self.total.saturating_sub(self.done) as f64;
        (self.state == JobState::Running).then_some(left / rate)
    }
}

/// Why a job failed, for the person who has to act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// A stable word, such as `no_text`.
    pub code: String,
    /// What and which.
    pub detail: String,
    /// What to do next.
    pub hint: String,
}
