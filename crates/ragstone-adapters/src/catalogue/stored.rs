//! Documents and jobs with what only a catalogue knows of them, and the rules by which they change, whatever stores them.

use ragstone_core::access::Acl;
use ragstone_core::document::{Document, DocumentStatus, Job, JobCounts, JobError, JobKind, JobState};
use ragstone_core::id::{ContentHash, Generation};
use ragstone_core::seam::catalogue::{AttemptState, ClaimedJob, JobLease, OriginalLocation, PublishedVersion};
use ragstone_core::seam::source::SourceRecord;
use time::OffsetDateTime;

use super::value::{DamagedValue, read_json, write_json};

/// What the newest `begin` of a document came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NewestVersionState {
    /// Its job waits or runs.
    Pending,
    /// It is the published version.
    Published,
    /// It ended without one, or was cancelled.
    Failed,
}

/// The bytes of a version, and what its type is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFile {
    /// BLAKE3 of the bytes.
    pub content_hash: ContentHash,
    /// How many bytes.
    pub bytes: u64,
    /// The file name.
    pub name: String,
    /// What the sender said they are.
    pub declared_media_type: Option<String>,
}

/// A document with what only the catalogue knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDocument {
    /// As others see it.
    pub document: Document,
    /// Which life of the URI this is.
    pub incarnation: u64,
    /// Where its newest `begin` stands.
    pub newest: NewestVersionState,
    /// The title that the published version was given or found.
    pub published_title: Option<String>,
    /// The pipeline of the published version.
    pub published_pipeline: Option<String>,
    /// The file of the published version; none also where an older program published it and a newer version failed.
    pub published_file: Option<VersionFile>,
    /// File name of the newest begin.
    pub name: String,
    /// Title of the newest begin.
    pub given_title: Option<String>,
    /// Media type of the newest begin.
    pub declared_media_type: Option<String>,
    /// Where its bytes wait.
    pub incoming: String,
    /// The generation whose final key holds the bytes; none while they wait.
    pub stored_generation: Option<Generation>,
    /// Its pipeline.
    pub pipeline: String,
}

impl StoredDocument {
    /// The caller's title, else the published version's, else the file name.
    pub fn update_title(&mut self) {
        let title = self.given_title.as_ref().or(self.published_title.as_ref());
        self.document.title = title.unwrap_or(&self.name).clone();
    }

    /// The file of the newest begin.
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

    /// Makes `generation` the published one; says which was.
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

    /// Its ingestion ended without a version: it keeps the one it has, if any.
    pub fn fail_ingestion(&mut self, error: &JobError, now: OffsetDateTime) {
        self.newest = NewestVersionState::Failed;
        self.document.last_error = Some(error.clone());
        self.document.updated_at = now;
        if self.document.status == DocumentStatus::Pending {
            self.document.status = DocumentStatus::Failed;
        }
    }

    /// Its newest begin is tried again.
    pub fn reset_to_pending(&mut self, now: OffsetDateTime) {
        self.newest = NewestVersionState::Pending;
        self.document.last_error = None;
        self.document.updated_at = now;
        if self.document.status == DocumentStatus::Failed {
            self.document.status = DocumentStatus::Pending;
        }
    }

    /// Where the bytes of the newest begin lie.
    pub fn original_location(&self) -> OriginalLocation {
        match self.stored_generation {
            Some(generation) => OriginalLocation::Stored(generation),
            None => OriginalLocation::Incoming(self.incoming.clone()),
        }
    }
}

/// A job with what only the catalogue knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    /// As others see it; of a batch without its children.
    pub job: Job,
    /// How its attempts went.
    pub attempt_state: AttemptState,
    /// The life of the document it is about.
    pub incarnation: u64,
    /// Its document's source.
    pub source: String,
    /// Who may see it.
    pub acl: Acl,
    /// Its turn.
    pub queue_sequence: u64,
}

impl StoredJob {
    /// A job of a document, without a place yet.
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

    /// Whether `lease` still holds.
    pub fn is_held_by(&self, lease: &JobLease) -> bool {
        self.job.state == JobState::Running
            && self.attempt_state.claims == lease.attempt
            && self.job.generation == lease.generation
            && self.job.document_id == Some(lease.document)
    }

    /// Whether it ended without what it was for.
    pub fn is_unsuccessful(&self) -> bool {
        matches!(self.job.state, JobState::Failed | JobState::Cancelled)
    }

    /// Whether it is an ingestion that may still be cancelled.
    pub fn is_cancellable(&self) -> bool {
        self.job.kind == JobKind::Ingest && !self.job.state.is_final()
    }

    /// What its worker needs, once it is claimed.
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

/// How a batch stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchState {
    /// Its children.
    pub children: JobCounts,
    /// Whether it was cancelled.
    pub stopped: bool,
}

/// Why a job that was cancelled did not succeed.
pub fn cancelled_error() -> JobError {
    JobError {
        code: "cancelled".into(),
        detail: "the ingestion was cancelled".into(),
        hint: "`ragstone job retry ID`, or ingest the document again".into(),
    }
}

/// Why a job without a document fails.
pub fn missing_document_error() -> JobError {
    JobError {
        code: "no_document".into(),
        detail: "the job's document is not in the catalogue".into(),
        hint: "run `ragstone fsck`".into(),
    }
}

/// Both or none.
pub fn zip_options<A, B>(a: Option<A>, b: Option<B>) -> Option<(A, B)> {
    Some((a?, b?))
}

/// A source as it stands in its row: what people said of it, and how its last sync went.
pub fn encode_source(source: &SourceRecord) -> Result<(String, Option<String>), DamagedValue> {
    let record = SourceRecord {
        last_sync: None,
        ..source.clone()
    };
    let last_sync = source.last_sync.as_ref().map(write_json).transpose()?;
    Ok((write_json(&record)?, last_sync))
}

/// The source of a row.
pub fn decode_source(record: &str, last_sync: Option<&str>) -> Result<SourceRecord, DamagedValue> {
    Ok(SourceRecord {
        last_sync: last_sync.map(|report| read_json(report, "last_sync")).transpose()?,
        ..read_json(record, "record")?
    })
}
