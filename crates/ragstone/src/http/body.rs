//! JSON forms of the types that several endpoints return.

use axum::http::StatusCode;
use ragstone_core::access::{Admitted, ReaderSet};
use ragstone_core::document::{
    Document, DocumentMetadata, DocumentStatus, Job, JobCounts, JobError, JobKind, JobStage, JobState, ParseWarning,
    format_timestamp,
};
use ragstone_core::library::{Notice, Passage};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A document and the state of its ingestion.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Document)]
pub(super) struct DocumentBody {
    /// Derived from tenant, collection, source and URI, so the same document always has the same id.
    id: Uuid,
    /// Name of the document, unique within its collection and source.
    uri: String,
    /// Title of the document.
    title: String,
    /// `pending` (no version published yet), `published`, `failed` or `deleting`. If a new version of a published
    /// document fails, it stays `published` and `last_error` is set.
    #[schema(value_type = String)]
    status: DocumentStatus,
    /// Version number, from 1.
    version: u64,
    /// Collection that contains the document.
    collection: String,
    /// Source that the document came from; `upload` for uploads.
    source: String,
    /// Media type of the published version; the declared one while there is none.
    media_type: String,
    /// Size of the newest accepted file, in bytes.
    bytes: u64,
    /// Number of pages; null if the format has no pages.
    pages: Option<u32>,
    /// Number of chunks of the published version.
    chunks: u32,
    /// Readers such as `everyone` or `dept:<id>`; a caller needs to hold at least one.
    readers: Vec<String>,
    /// Further sets of readers (inherited restrictions); a caller needs to hold at least one of each set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restrictions: Vec<Vec<String>>,
    /// Department that the document was assigned to; null if none.
    department_id: Option<String>,
    /// Key-value pairs; searches can filter by them.
    #[schema(value_type = Object)]
    metadata: DocumentMetadata,
    /// URL where a person can open the document; null if not known.
    source_url: Option<String>,
    /// Why the newest version could not be published; null if it could.
    last_error: Option<ErrorBody>,
    /// Warnings that the parser gave.
    #[schema(value_type = Vec<Object>)]
    warnings: Vec<ParseWarning>,
    /// When it was first accepted, RFC 3339.
    created_at: String,
    /// When it last changed, RFC 3339.
    updated_at: String,
}

impl From<Document> for DocumentBody {
    fn from(document: Document) -> Self {
        let mut sets = document.acl.sets.iter().map(reader_names);
        Self {
            id: document.id.0,
            readers: sets.next().unwrap_or_default(),
            restrictions: sets.collect(),
            uri: document.uri,
            title: document.title,
            status: document.status,
            version: document.version,
            collection: document.collection.into(),
            source: document.source.into(),
            media_type: document.media_type,
            bytes: document.bytes,
            pages: document.pages,
            chunks: document.chunks,
            department_id: document.department_id,
            metadata: document.metadata,
            source_url: document.source_url.map(String::from),
            last_error: document.last_error.map(ErrorBody::from),
            warnings: document.warnings,
            created_at: format_timestamp(document.created_at),
            updated_at: format_timestamp(document.updated_at),
        }
    }
}

fn reader_names(set: &ReaderSet) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

/// Why background work failed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = JobError)]
pub(super) struct ErrorBody {
    /// Stable code, such as `no_text`.
    pub code: String,
    /// What is wrong, and with which item.
    pub detail: String,
    /// Suggestion what to do next.
    pub hint: String,
}

impl From<JobError> for ErrorBody {
    fn from(JobError { code, detail, hint }: JobError) -> Self {
        Self { code, detail, hint }
    }
}

/// A unit of background work, such as ingesting a document.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobBody {
    /// Id of the job; for a batch of uploads, the UUID that the client chose.
    pub id: Uuid,
    /// `ingest`, `purge` (removes a deleted document), or `batch` (groups other jobs).
    #[schema(value_type = String)]
    pub kind: JobKind,
    /// The document that is processed; null for a batch.
    pub document_id: Option<Uuid>,
    /// The batch that contains the job; null if none.
    pub parent: Option<Uuid>,
    /// Only for a batch: how many of its jobs are in each state. The batch ends when all of its jobs so far have ended,
    /// and continues when another one is added or retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children: Option<CountsBody>,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    pub state: JobState,
    /// `queued`, `load`, `parse`, `split`, `embed`, `publish`, `purge`, `children` or `done`; for a failed job, the
    /// stage that failed.
    #[schema(value_type = String)]
    pub stage: JobStage,
    /// Units done: chunks, or for a batch the jobs that have ended. Never decreases within an attempt; the next attempt
    /// continues from there if it has the same total.
    pub done: u64,
    /// Total number of units; 0 while unknown.
    pub total: u64,
    /// Units per second; null unless the job runs and the rate is known.
    pub rate: Option<f64>,
    /// Estimated seconds left at this rate; null if the rate is not known.
    pub remaining: Option<f64>,
    /// How many times a worker claimed the job, without claims that it handed back; 0 again after a manual retry.
    pub attempts: u32,
    /// Why the job failed, or why its last attempt did; null if neither.
    pub error: Option<ErrorBody>,
    /// When it was queued, RFC 3339.
    pub created_at: String,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        Self {
            id: job.id.0,
            remaining: job.seconds_remaining().map(round_to_tenths),
            rate: job.rate.map(round_to_tenths),
            kind: job.kind,
            document_id: job.document_id.map(|id| id.0),
            parent: job.parent.map(|id| id.0),
            children: job.children.map(CountsBody::from),
            state: job.state,
            stage: job.stage,
            done: job.done,
            total: job.total,
            attempts: job.attempts,
            error: job.error.map(ErrorBody::from),
            created_at: format_timestamp(job.created_at),
            updated_at: format_timestamp(job.updated_at),
        }
    }
}

fn round_to_tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Number of jobs in each state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = JobCounts)]
pub(super) struct CountsBody {
    queued: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
}

impl From<JobCounts> for CountsBody {
    fn from(counts: JobCounts) -> Self {
        Self {
            queued: counts.queued,
            running: counts.running,
            succeeded: counts.succeeded,
            failed: counts.failed,
            cancelled: counts.cancelled,
        }
    }
}

/// Result of an upload.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UploadResponse {
    /// The document that was created or updated.
    pub document: DocumentBody,
    /// The job that will publish it. If there is nothing to do, the newest job of the document; null if that is no
    /// longer known.
    pub job: Option<JobBody>,
    /// Whether this request queued the job. Not sent.
    #[serde(skip)]
    pub queued: bool,
}

impl UploadResponse {
    /// 202 if a job was queued, else 200.
    pub fn status(&self) -> StatusCode {
        match self.queued {
            true => StatusCode::ACCEPTED,
            false => StatusCode::OK,
        }
    }
}

/// A chunk that matches a search or a question.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Passage)]
pub(super) struct PassageBody {
    /// Id of the chunk.
    chunk_id: Uuid,
    /// Id of its document.
    document_id: Uuid,
    /// Title of the document.
    title: String,
    /// URI of the document.
    uri: String,
    /// URL where a person can open the document; null if not known.
    source_url: Option<String>,
    /// Collection of the document.
    collection: String,
    /// Page, from 1; null if the format has no pages.
    page: Option<u32>,
    /// Heading path, such as `Setup > Linux`; null if there is none.
    section: Option<String>,
    /// Start and end of the text, as byte offsets in the document's UTF-8 text.
    range: [usize; 2],
    /// Text of the chunk.
    text: String,
    /// Relevance; higher is better. Comparable within one search only.
    score: f64,
    /// Its ranks in the separate searches that were combined.
    ranks: RanksBody,
}

/// Rank of a passage in each search, from 1; null if that search did not return it or was not run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ranks)]
pub(super) struct RanksBody {
    /// Rank in the search by vectors.
    dense: Option<u32>,
    /// Rank in the search by words.
    lexical: Option<u32>,
}

impl From<&Passage> for PassageBody {
    fn from(passage: &Passage) -> Self {
        let chunk = &passage.chunk;
        Self {
            chunk_id: chunk.id.0,
            document_id: chunk.document_id.0,
            title: passage.title.clone(),
            uri: passage.uri.clone(),
            source_url: passage.source_url.clone().map(String::from),
            collection: passage.collection.to_string(),
            page: chunk.page,
            section: chunk.section.clone(),
            range: [chunk.range.start, chunk.range.end],
            text: chunk.text.clone(),
            score: passage.score,
            ranks: RanksBody {
                dense: passage.ranks.dense,
                lexical: passage.ranks.lexical,
            },
        }
    }
}

/// The JSON forms of passages.
pub(super) fn passage_bodies(passages: &[Admitted<Passage>]) -> Vec<PassageBody> {
    passages.iter().map(|passage| PassageBody::from(&**passage)).collect()
}

/// Something that the reader of a result or an answer should know.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notice)]
pub(super) struct NoticeBody {
    /// Stable code, such as `lexical_only`.
    pub code: String,
    /// What happened, and why.
    pub detail: String,
}

impl From<&Notice> for NoticeBody {
    fn from(notice: &Notice) -> Self {
        Self {
            code: notice.code.clone(),
            detail: notice.detail.clone(),
        }
    }
}
