//! Documents and jobs with what only a catalogue knows of them, and the rules by which they change, whatever stores them.

use ragstone_core::access::Acl;
use ragstone_core::document::{Document, DocumentStatus, Job, JobCounts, JobError, JobKind, JobState};
use ragstone_core::id::{ContentHash, Generation};
use ragstone_core::seam::catalogue::{Claim, Course, Lease, Original, PublishedVersion};
use ragstone_core::seam::source::SourceRecord;
use time::OffsetDateTime;

use super::value::{Damaged, read_json, write_json};

/// What the newest `begin` of a document came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Newest {
    /// Its job waits or runs.
    Pending,
    /// It is the published version.
    Published,
    /// It ended without one, or was cancelled.
    Failed,
}

/// The bytes of a version, and what its type is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
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
    pub life: u64,
    /// Where its newest `begin` stands.
    pub newest: Newest,
    /// The title that the published version was given or found.
    pub published_title: Option<String>,
    /// The pipeline of the published version.
    pub published_pipeline: Option<String>,
    /// The file of the published version; none also where an older program published it and a newer version failed.
    pub published_file: Option<File>,
    /// File name of the newest begin.
    pub name: String,
    /// Title of the newest begin.
    pub given_title: Option<String>,
    /// Media type of the newest begin.
    pub declared_media_type: Option<String>,
    /// Where its bytes wait.
    pub incoming: String,
    /// The generation whose final key holds the bytes; none while they wait.
    pub stored: Option<Generation>,
    /// Its pipeline.
    pub pipeline: String,
}

impl StoredDocument {
    /// The caller's title, else the published version's, else the file name.
    pub fn name_it(&mut self) {
        let title = self.given_title.as_ref().or(self.published_title.as_ref());
        self.document.title = title.unwrap_or(&self.name).clone();
    }

    /// The file of the newest begin.
    fn file(&self) -> File {
        File {
            content_hash: self.document.content_hash,
            bytes: self.document.bytes,
            name: self.name.clone(),
            declared_media_type: self.declared_media_type.clone(),
        }
    }

    /// Makes the published version's file the newest one again.
    pub fn take_published_file(&mut self) {
        if let Some(file) = self.published_file.clone() {
            (self.document.content_hash, self.document.bytes) = (file.content_hash, file.bytes);
            (self.name, self.declared_media_type) = (file.name, file.declared_media_type);
            self.name_it();
        }
    }

    /// Makes `generation` the published one; says which was.
    pub fn publish(
        &mut self,
        generation: Generation,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> Option<Generation> {
        let replaced = version.publish(&mut self.document, generation, now);
        self.newest = Newest::Published;
        self.published_file = Some(self.file());
        self.published_title = Some(version.title);
        self.published_pipeline = Some(version.pipeline);
        replaced
    }

    /// Its ingestion ended without a version: it keeps the one it has, if any.
    pub fn give_up(&mut self, error: &JobError, now: OffsetDateTime) {
        self.newest = Newest::Failed;
        self.document.last_error = Some(error.clone());
        self.document.updated_at = now;
        if self.document.status == DocumentStatus::Pending {
            self.document.status = DocumentStatus::Failed;
        }
    }

    /// Its newest begin is tried again.
    pub fn await_again(&mut self, now: OffsetDateTime) {
        self.newest = Newest::Pending;
        self.document.last_error = None;
        self.document.updated_at = now;
        if self.document.status == DocumentStatus::Failed {
            self.document.status = DocumentStatus::Pending;
        }
    }

    /// Where the bytes of the newest begin lie.
    pub fn original(&self) -> Original {
        match self.stored {
            Some(generation) => Original::Stored(generation),
            None => Original::Incoming(self.incoming.clone()),
        }
    }
}

/// A job with what only the catalogue knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    /// As others see it; of a batch without its children.
    pub job: Job,
    /// How its attempts went.
    pub course: Course,
    /// The life of the document it is about.
    pub life: u64,
    /// Its document's source.
    pub source: String,
    /// Who may see it.
    pub acl: Acl,
    /// Its turn.
    pub place: u64,
}

impl StoredJob {
    /// A job of a document, without a place yet.
    pub fn of(stored: &StoredDocument, job: Job) -> Self {
        Self {
            job: Job {
                document_id: Some(stored.document.id),
                ..job
            },
            course: Course::default(),
            life: stored.life,
            source: stored.document.source.to_string(),
            acl: stored.document.acl.clone(),
            place: 0,
        }
    }

    /// Whether `lease` still holds.
    pub fn is_held_by(&self, lease: &Lease) -> bool {
        self.job.state == JobState::Running
            && self.course.claims == lease.attempt
            && self.job.generation == lease.generation
            && self.job.document_id == Some(lease.document)
    }

    /// Whether it ended without what it was for.
    pub fn has_missed(&self) -> bool {
        matches!(self.job.state, JobState::Failed | JobState::Cancelled)
    }

    /// Whether it is an ingestion that may still be cancelled.
    pub fn may_be_cancelled(&self) -> bool {
        self.job.kind == JobKind::Ingest && !self.job.state.is_final()
    }

    /// What its worker needs, once it is claimed.
    pub fn claimed(self, document: StoredDocument) -> Claim {
        let Self { job, course, .. } = self;
        Claim {
            lease: Lease {
                job: job.id,
                attempt: course.claims,
                document: document.document.id,
                generation: job.generation,
            },
            job,
            failures: course.failures,
            poisoned: course.poisoned(),
            original: document.original(),
            document: document.document,
            name: document.name,
            given_title: document.given_title,
            declared_media_type: document.declared_media_type,
        }
    }
}

/// How a batch stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Batch {
    /// Its children.
    pub children: JobCounts,
    /// Whether it was cancelled.
    pub stopped: bool,
}

/// Why a job that was cancelled did not succeed.
pub fn cancelled() -> JobError {
    JobError {
        code: "cancelled".into(),
        detail: "the ingestion was cancelled".into(),
        hint: "`ragstone job retry ID`, or ingest the document again".into(),
    }
}

/// Why a job without a document fails.
pub fn no_document() -> JobError {
    JobError {
        code: "no_document".into(),
        detail: "the job's document is not in the catalogue".into(),
        hint: "run `ragstone fsck`".into(),
    }
}

/// Both or none.
pub fn both<A, B>(a: Option<A>, b: Option<B>) -> Option<(A, B)> {
    Some((a?, b?))
}

/// A source as it stands in its row: what people said of it, and how its last sync went.
pub fn record_of(source: &SourceRecord) -> Result<(String, Option<String>), Damaged> {
    let record = SourceRecord {
        last_sync: None,
        ..source.clone()
    };
    let last_sync = source.last_sync.as_ref().map(write_json).transpose()?;
    Ok((write_json(&record)?, last_sync))
}

/// The source of a row.
pub fn source_of(record: &str, last_sync: Option<&str>) -> Result<SourceRecord, Damaged> {
    Ok(SourceRecord {
        last_sync: last_sync.map(|report| read_json(report, "last_sync")).transpose()?,
        ..read_json(record, "record")?
    })
}
