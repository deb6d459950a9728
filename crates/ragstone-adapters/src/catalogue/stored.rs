//! Rows of documents and jobs with their internal fields, and the rules by which they change, independent of the
//! database.

use ragstone_core::access::Acl;
use ragstone_core::document::{Document, DocumentStatus, Job, JobCounts, JobError, JobKind, JobState};
use ragstone_core::id::{ContentHash, Generation};
use ragstone_core::seam::catalogue::{AttemptState, ClaimedJob, JobLease, OriginalLocation, PublishedVersion};
use ragstone_core::seam::source::SourceRecord;
use time::OffsetDateTime;

use super::value::{DamagedValue, read_json, write_json};

/// State of the newest `begin` of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NewestVersionState {
    /// Its job is queued or running.
    Pending,
    /// It is the published version.
    Published,
    /// It failed or was cancelled.
    Failed,
}

/// The bytes of a version, and the inputs of its media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFile {
    /// BLAKE3 hash of the bytes.
    pub content_hash: ContentHash,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Name of the file.
    pub name: String,
    /// Media type that the sender declared.
    pub declared_media_type: Option<String>,
}

/// A document with the catalogue's internal fields.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDocument {
    /// The document as callers see it.
    pub document: Document,
    /// Number that distinguishes documents which had this URI one after another.
    pub incarnation: u64,
    /// State of its newest `begin`.
    pub newest: NewestVersionState,
    /// Title of the published version, given or extracted.
    pub published_title: Option<String>,
    /// Pipeline that made the published version.
    pub published_pipeline: Option<String>,
    /// File of the published version; `None` also if an older program published it and a newer version failed.
    pub published_file: Option<VersionFile>,
    /// File name of the newest `begin`.
    pub name: String,
    /// Title given with the newest `begin`.
    pub given_title: Option<String>,
    /// Media type declared with the newest `begin`.
    pub declared_media_type: Option<String>,
    /// Key of the accepted bytes that are not processed yet.
    pub incoming: String,
    /// Generation whose final key holds the bytes; `None` while they are at `incoming`.
    pub stored_generation: Option<Generation>,
    /// Pipeline of the newest `begin`.
    pub pipeline: String,
}

impl StoredDocument {
    /// Sets the title: the caller's, else the published version's, else the file name.
    pub fn update_title(&mut self) {
        let title = self.given_title.as_ref().or(self.published_title.as_ref());
        self.document.title = title.unwrap_or(&self.name).clone();
    }

    /// File of the newest `begin`.
    fn newest_file(&self) -> VersionFile {
        VersionFile {
            content_hash: self.document.content_hash,
            bytes: self.document.bytes,
            name: self.name.clone(),
            declared_media_type: self.declared_media_type.clone(),
        }
    }

    /// Makes the published version's file the newest one again.
    pub fn restore_published_file(&mut self) {
        if let Some(file) = self.published_file.clone() {
            (self.document.content_hash, self.document.bytes) = (file.content_hash, file.bytes);
            (self.name, self.declared_media_type) = (file.name, file.declared_media_type);
            self.update_title();
        }
    }

    /// Makes `generation` the published one; returns the previous one.
    pub fn mark_published(
        &mut self,
        generation: Generation,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> Option<Generation> {
        let replaced = version.mark_published(&mut self.document, generation, now);
        self.newest = NewestVersionState::Published;
        self.published_file = Some(self.newest_file());
        self.published_title = Some(version.title);
        self.published_pipeline = Some(version.pipeline);
        replaced
    }

    /// Records that the ingestion failed; the document retains its published version, if any.
    pub fn fail_ingestion(&mut self, error: &JobError, now: OffsetDateTime) {
        self.newest = NewestVersionState::Failed;
        self.document.last_error = Some(error.clone());
        self.document.updated_at = now;
        if self.document.status == DocumentStatus::Pending {
            self.document.status = DocumentStatus::Failed;
        }
    }

    /// Sets the newest `begin` to pending again, for a retry.
    pub fn reset_to_pending(&mut self, now: OffsetDateTime) {
        self.newest = NewestVersionState::Pending;
        self.document.last_error = None;
        self.document.updated_at = now;
        if self.document.status == DocumentStatus::Failed {
            self.document.status = DocumentStatus::Pending;
        }
    }

    /// Where the bytes of the newest `begin` are stored.
    pub fn original_location(&self) -> OriginalLocation {
        match self.stored_generation {
            Some(generation) => OriginalLocation::Stored(generation),
            None => OriginalLocation::Incoming(self.incoming.clone()),
        }
    }
}

/// A job with the catalogue's internal fields.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    /// The job as callers see it; for a batch, without its children.
    pub job: Job,
    /// State of its attempts and lease.
    pub attempt_state: AttemptState,
    /// Incarnation of its document.
    pub incarnation: u64,
    /// Source of its document.
    pub source: String,
    /// ACL that decides who may see it.
    pub acl: Acl,
    /// Position in the queue.
    pub queue_sequence: u64,
}

impl StoredJob {
    /// A job of a document, without a position in the queue yet.
    pub fn for_document(stored: &StoredDocument, job: Job) -> Self {
        Self {
            job: Job {
                document_id: Some(stored.document.id),
                ..job
            },
            attempt_state: AttemptState::default(),
            incarnation: stored.incarnation,
            source: stored.document.source.to_string(),
            acl: stored.document.acl.clone(),
            queue_sequence: 0,
        }
    }

    /// Whether `lease` still holds the job.
    pub fn is_held_by(&self, lease: &JobLease) -> bool {
        self.job.state == JobState::Running
            && self.attempt_state.claims == lease.attempt
            && self.job.generation == lease.generation
            && self.job.document_id == Some(lease.document)
    }

    /// Whether it ended as failed or cancelled.
    pub fn is_unsuccessful(&self) -> bool {
        matches!(self.job.state, JobState::Failed | JobState::Cancelled)
    }

    /// Whether it is an ingestion that may still be cancelled.
    pub fn is_cancellable(&self) -> bool {
        self.job.kind == JobKind::Ingest && !self.job.state.is_final()
    }

    /// The data that a worker needs for the claimed job.
    pub fn into_claimed_job(self, document: StoredDocument) -> ClaimedJob {
        let Self {
            job,
            attempt_state: course,
            ..
        } = self;
        ClaimedJob {
            lease: JobLease {
                job: job.id,
                attempt: course.claims,
                document: document.document.id,
                generation: job.generation,
            },
            job,
            failures: course.failures,
            poisoned: course.poisoned_error(),
            original: document.original_location(),
            document: document.document,
            name: document.name,
            given_title: document.given_title,
            declared_media_type: document.declared_media_type,
        }
    }
}

/// State of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchState {
    /// Number of its children by state.
    pub children: JobCounts,
    /// Whether it was cancelled.
    pub stopped: bool,
}

/// Error of a job that was cancelled.
pub fn cancelled_error() -> JobError {
    JobError {
        code: "cancelled".into(),
        detail: "the ingestion was cancelled".into(),
        hint: "`ragstone job retry ID`, or ingest the document again".into(),
    }
}

/// Error of a job whose document is missing.
pub fn missing_document_error() -> JobError {
    JobError {
        code: "no_document".into(),
        detail: "the job's document is not in the catalogue".into(),
        hint: "run `ragstone fsck`".into(),
    }
}

/// `Some` if both are.
pub fn zip_options<A, B>(a: Option<A>, b: Option<B>) -> Option<(A, B)> {
    Some((a?, b?))
}

/// Encodes a source for its row: its settings, and the result of its last sync.
pub fn encode_source(source: &SourceRecord) -> Result<(String, Option<String>), DamagedValue> {
    let record = SourceRecord {
        last_sync: None,
        ..source.clone()
    };
    let last_sync = source.last_sync.as_ref().map(write_json).transpose()?;
    Ok((write_json(&record)?, last_sync))
}

/// Decodes the source of a row.
pub fn decode_source(record: &str, last_sync: Option<&str>) -> Result<SourceRecord, DamagedValue> {
    Ok(SourceRecord {
        last_sync: last_sync.map(|report| read_json(report, "last_sync")).transpose()?,
        ..read_json(record, "record")?
    })
}
