//! The nouns of the product as JSON shows them.

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

/// A document.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Document)]
pub(super) struct DocumentBody {
    /// Derived from tenant, collection, source and URI.
    id: Uuid,
    /// Its name within the source.
    uri: String,
    /// What people call it.
    title: String,
    /// `pending`, `published`, `failed` or `deleting`; a failed re-ingestion stays `published` with `last_error`.
    #[schema(value_type = String)]
    status: DocumentStatus,
    /// Counts its versions, from 1.
    version: u64,
    /// The collection it belongs to.
    collection: String,
    /// The source it came from.
    source: String,
    /// The media type of the published version, else the declared one.
    media_type: String,
    /// Size of the newest accepted bytes.
    bytes: u64,
    /// Pages, where the format has pages.
    pages: Option<u32>,
    /// Chunks of the published version.
    chunks: u32,
    /// Readers any one of which may read it.
    readers: Vec<String>,
    /// Further sets, each of which must hold one of the caller's readers too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restrictions: Vec<Vec<String>>,
    /// The department it was given to.
    department_id: Option<String>,
    /// The caller's key-value pairs.
    #[schema(value_type = Object)]
    metadata: DocumentMetadata,
    /// Where a person can open it.
    source_url: Option<String>,
    /// Why the newest version could not be published.
    last_error: Option<ErrorBody>,
    /// What the parser warned of.
    #[schema(value_type = Vec<Object>)]
    warnings: Vec<ParseWarning>,
    /// First accepted, RFC 3339.
    created_at: String,
    /// Last changed, RFC 3339.
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
    /// A stable word, such as `no_text`.
    pub code: String,
    /// What and which.
    pub detail: String,
    /// What to do next.
    pub hint: String,
}

impl From<JobError> for ErrorBody {
    fn from(JobError { code, detail, hint }: JobError) -> Self {
        Self { code, detail, hint }
    }
}

/// A unit of background work.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobBody {
    /// Its id.
    pub id: Uuid,
    /// `ingest`, `purge`, or `batch` for one whose work is its children's.
    #[schema(value_type = String)]
    pub kind: JobKind,
    /// The document it is about; null for a batch.
    pub document_id: Option<Uuid>,
    /// The batch it is part of.
    pub parent: Option<Uuid>,
    /// How the children of a batch stand; its state follows them: it has ended when all it has so far have, and goes
    /// on when one more is begun or tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children: Option<CountsBody>,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    pub state: JobState,
    /// `queued`, `load`, `parse`, `split`, `embed`, `publish`, `purge`, `children` or `done`; of a failed job the one in
    /// which it failed.
    #[schema(value_type = String)]
    pub stage: JobStage,
    /// Units done: chunks, and of a batch the children that have ended. Never goes back within an attempt; the next
    /// attempt goes on from there if it comes to the same total.
    pub done: u64,
    /// Units in all, 0 while unknown.
    pub total: u64,
    /// Units a second, while it runs and once it is known.
    pub rate: Option<f64>,
    /// Seconds that are left at this rate.
    pub remaining: Option<f64>,
    /// How often a worker took it and did not hand it back; from 0 again when it is retried by hand.
    pub attempts: u32,
    /// Why it failed, or failed last.
    pub error: Option<ErrorBody>,
    /// When it was queued, RFC 3339.
    pub created_at: String,
    /// Last change, RFC 3339.
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

/// How many jobs are in each state.
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

/// What an upload did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UploadResponse {
    /// The document.
    pub document: DocumentBody,
    /// The job that will publish it; where nothing has to be done, the newest job of the document, if it is known still.
    pub job: Option<JobBody>,
    /// Whether the job was queued by this request.
    #[serde(skip)]
    pub queued: bool,
}

impl UploadResponse {
    /// 202 where a job was queued.
    pub fn status(&self) -> StatusCode {
        match self.queued {
            true => StatusCode::ACCEPTED,
            false => StatusCode::OK,
        }
    }
}

/// A chunk that fits a question.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Passage)]
pub(super) struct PassageBody {
    chunk_id: Uuid,
    document_id: Uuid,
    title: String,
    uri: String,
    source_url: Option<String>,
    collection: String,
    /// From 1; null where the format has no pages.
    page: Option<u32>,
    /// The heading path, such as `Setup > Linux`.
    section: Option<String>,
    /// Start and end of the text, as UTF-8 bytes of the document's text.
    range: [usize; 2],
    text: String,
    /// Higher fits better; comparable within one search only.
    score: f64,
    ranks: RanksBody,
}

/// Where each leg put a passage, from 1; null where it is not among the leg's candidates.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ranks)]
pub(super) struct RanksBody {
    dense: Option<u32>,
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

/// Passages as they are sent.
pub(super) fn passage_bodies(passages: &[Admitted<Passage>]) -> Vec<PassageBody> {
    passages.iter().map(|passage| PassageBody::from(&**passage)).collect()
}

/// Something the reader of an answer should know.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notice)]
pub(super) struct NoticeBody {
    /// A stable word, such as `lexical_only`.
    pub code: String,
    /// What and why.
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
