//! The story of ingestion: accept, then for each job load, parse, split, embed batch by batch, publish.
//!
//! Invariant: nothing is visible before `publish`, which is one row in the catalogue; every step may be repeated, and
//! a worker whose lease went stale removes what it wrote and changes nothing else.

mod accept;
mod batch;
pub mod fsck;
mod grant;
mod pipeline;
mod purge;
mod statistics;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use object_store::{ObjectStore, ObjectStoreExt};
use time::OffsetDateTime;
use uuid::Uuid;

pub use accept::{AcceptError, MAX_TITLE_BYTES, MAX_URI_BYTES, Received, Upload};
pub use fsck::Uploads;
pub use grant::{GrantError, Grants};
pub use pipeline::Pipeline;

use crate::document::{JobError, JobKind, ParsedDocument, Stage};
use crate::id::JobId;
use crate::library::text::{self, StoredText, TextError, original_key, text_key};
use crate::seam::catalogue::{Claim, Lease, Original, Progress, PublishedVersion};
use crate::seam::parser::ParseRequest;
use crate::seam::{Catalogue, CatalogueError, EmbedError, IndexError, Parser, VectorIndex};
use crate::split::{Segment, split_document};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;
/// Gives a fresh random id.
pub type NewId = Arc<dyn Fn() -> Uuid + Send + Sync>;

/// Bounds of ingestion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestSettings {
    /// Largest accepted file, in bytes.
    pub max_bytes: u64,
    /// Most chunks embedded and stored at once.
    pub batch_chunks: usize,
    /// Most bytes of text embedded and stored at once.
    pub batch_bytes: usize,
    /// Attempts before a failure that may pass is final.
    pub max_attempts: u32,
    /// Wait before the second attempt; doubled for each further one, with jitter.
    pub retry_base: Duration,
    /// Longest wait between attempts.
    pub retry_cap: Duration,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            batch_chunks: 64,
            batch_bytes: 256 * 1024,
            max_attempts: 5,
            retry_base: Duration::from_secs(2),
            retry_cap: Duration::from_secs(300),
        }
    }
}

/// What ingestion stands on.
pub struct Stores {
    /// The truth about documents and jobs.
    pub catalogue: Arc<dyn Catalogue>,
    /// Where chunks are found.
    pub index: Arc<dyn VectorIndex>,
    /// Originals and extracted text.
    pub blobs: Arc<dyn ObjectStore>,
    /// Bytes to text.
    pub parser: Arc<dyn Parser>,
}

/// Takes documents in and carries out their jobs.
pub struct Ingestor {
    stores: Stores,
    settings: IngestSettings,
    pipeline: RwLock<Arc<Pipeline>>,
    clock: Clock,
    new_id: NewId,
    /// Uploads that are not begun yet.
    in_flight: accept::InFlight,
    /// Jobs whose end the catalogue could not note: a disk that is full takes no note of that.
    unsettled: Mutex<Vec<(Claim, Trouble)>>,
}

/// How a job ended this time.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is done.
    Succeeded,
    /// It failed for good.
    Failed(JobError),
    /// It goes back into the queue.
    Retried(JobError),
    /// Somebody else has it, or it was cancelled; what was written is removed.
    Stale,
}

/// Why a step did not work.
#[derive(Debug, Clone)]
struct Trouble {
    error: JobError,
    may_pass: bool,
    stale: bool,
}

impl Trouble {
    fn new(code: &str, detail: impl ToString, hint: &str, may_pass: bool) -> Self {
        let error = JobError {
            code: code.into(),
            detail: detail.to_string(),
            hint: hint.into(),
        };
        Self {
            error,
            may_pass,
            stale: false,
        }
    }
}

impl From<CatalogueError> for Trouble {
    fn from(error: CatalogueError) -> Self {
        let stale = matches!(error, CatalogueError::Stale);
        let trouble = Self::new(
            "catalogue_unavailable",
            error,
            "it is tried again by itself",
            true,
        );
        Self { stale, ..trouble }
    }
}

impl From<IndexError> for Trouble {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Unavailable { .. } => {
                Self::new("index_unavailable", error, "it is tried again by itself", true)
            }
            _ => Self::new("index_refused", error, "run `ragstone doctor`", false),
        }
    }
}

impl From<EmbedError> for Trouble {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Refused { .. } => Self::new(
                "embedding_refused",
                error,
                "check the embedding model and its key",
                false,
            ),
            _ => Self::new("embedding_failed", error, "it is tried again by itself", true),
        }
    }
}

impl From<TextError> for Trouble {
    fn from(error: TextError) -> Self {
        Self::new(
            "blob_store_failed",
            error,
            "check the disk of the data directory",
            true,
        )
    }
}

impl From<object_store::Error> for Trouble {
    fn from(error: object_store::Error) -> Self {
        Self::new(
            "blob_store_failed",
            error,
            "check the disk of the data directory",
            true,
        )
    }
}

impl Ingestor {
    /// An ingestor whose new versions are made by `pipeline`.
    pub fn new(
        stores: Stores,
        settings: IngestSettings,
        pipeline: Pipeline,
        clock: Clock,
        new_id: NewId,
    ) -> Self {
        Self {
            stores,
            settings,
            pipeline: RwLock::new(Arc::new(pipeline)),
            clock,
            new_id,
            in_flight: accept::InFlight::default(),
            unsettled: Mutex::default(),
        }
    }

    /// The pipeline that makes new versions.
    pub fn pipeline(&self) -> Arc<Pipeline> {
        self.pipeline
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes new versions by another pipeline from now on; running jobs end with theirs.
    pub fn set_pipeline(&self, pipeline: Pipeline) {
        *self.pipeline.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pipeline);
    }

    /// Takes the next job, if one waits, and carries it out. A job whose end could not be noted comes first.
    pub async fn run_next(&self) -> Result<Option<(JobId, Outcome)>, CatalogueError> {
        let unsettled = self.unsettled().pop();
        if let Some((claim, trouble)) = unsettled {
            return Ok(Some((claim.job.id, self.end(&claim, trouble).await?)));
        }
        let Some(claim) = self.stores.catalogue.claim((self.clock)()).await? else {
            return Ok(None);
        };
        let outcome = self.run(&claim).await?;
        Ok(Some((claim.job.id, outcome)))
    }

    async fn run(&self, claim: &Claim) -> Result<Outcome, CatalogueError> {
        let done = match claim.job.kind {
            JobKind::Ingest => self.ingest(claim).await,
            JobKind::Purge => self.purge(claim).await,
        };
        match done {
            Ok(()) => Ok(Outcome::Succeeded),
            Err(trouble) => self.end(claim, trouble).await,
        }
    }

    /// Notes what became of a job that did not succeed.
    async fn end(&self, claim: &Claim, trouble: Trouble) -> Result<Outcome, CatalogueError> {
        let settled = match trouble.stale {
            true => Err(CatalogueError::Stale),
            false => self.settle(claim, &trouble).await,
        };
        match settled {
            Err(CatalogueError::Stale) => {
                self.discard(claim).await;
                Ok(Outcome::Stale)
            }
            Err(error) => {
                self.unsettled().push((claim.clone(), trouble));
                Err(error)
            }
            settled => settled,
        }
    }

    fn unsettled(&self) -> std::sync::MutexGuard<'_, Vec<(Claim, Trouble)>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// load -> parse -> split -> embed and store -> publish.
    async fn ingest(&self, claim: &Claim) -> Result<(), Trouble> {
        let pipeline = self.pipeline();
        self.load(claim).await?;
        let parsed = self.parse(claim).await?;
        self.note(&claim.lease, Stage::Split, 0, 1).await?;
        let title = title(claim, &parsed);
        let segments = split_document(&parsed, &pipeline.split_for(&parsed.media_type));
        let statistics = self.embed(claim, &pipeline, &parsed, &title, &segments).await?;
        self.note(&claim.lease, Stage::Publish, 0, 1).await?;
        let version = PublishedVersion {
            title,
            media_type: parsed.media_type.clone(),
            pages: parsed.pages.iter().filter_map(|span| span.page).max(),
            chunks: u32::try_from(segments.len()).unwrap_or(u32::MAX),
            warnings: parsed.warnings.clone(),
            pipeline: pipeline.fingerprint().to_owned(),
            statistics,
        };
        self.publish(claim, version).await
    }

    /// Brings the original to the final key of this generation.
    async fn load(&self, claim: &Claim) -> Result<(), Trouble> {
        self.note(&claim.lease, Stage::Load, 0, 1).await?;
        let (blobs, lease) = (&self.stores.blobs, &claim.lease);
        let tenant = &claim.document.acl.tenant;
        let to = original_key(tenant, lease.document, lease.generation);
        let from = match &claim.original {
            Original::Incoming(key) => object_store::path::Path::from(key.as_str()),
            Original::Stored(generation) => original_key(tenant, lease.document, *generation),
        };
        match blobs.copy(&from, &to).await {
            // The text is enough to make points of; `fsck` tells of the original.
            Err(object_store::Error::NotFound { .. }) if self.parsed_before(claim).await.is_some() => {
                return Ok(());
            }
            copied => copied?,
        }
        self.stores.catalogue.stored(lease).await?;
        if let Original::Incoming(_) = &claim.original {
            self.remove_incoming(&from).await;
        }
        Ok(())
    }

    /// The text, from an earlier generation where the same parser made it of the same bytes.
    async fn parse(&self, claim: &Claim) -> Result<ParsedDocument, Trouble> {
        self.note(&claim.lease, Stage::Parse, 0, 1).await?;
        let (blobs, lease) = (self.stores.blobs.as_ref(), &claim.lease);
        let tenant = &claim.document.acl.tenant;
        let parsed = match self.parsed_before(claim).await {
            Some(parsed) => parsed,
            None => {
                let request = ParseRequest {
                    blob: original_key(tenant, lease.document, lease.generation),
                    name: claim.name.clone(),
                    declared_media_type: claim.declared_media_type.clone(),
                };
                self.stores
                    .parser
                    .parse(blobs, &request)
                    .await
                    .map_err(|failure| Trouble {
                        error: failure.error,
                        may_pass: failure.may_pass,
                        stale: false,
                    })?
            }
        };
        if parsed.text.trim().is_empty() {
            let detail = format!("{} holds no text", claim.name);
            return Err(Trouble::new(
                "no_text",
                detail,
                "scanned pages need OCR before they are ingested",
                false,
            ));
        }
        let key = text_key(tenant, lease.document, lease.generation);
        text::write(blobs, &key, self.stores.parser.fingerprint(), &parsed).await?;
        Ok(parsed)
    }

    async fn parsed_before(&self, claim: &Claim) -> Option<ParsedDocument> {
        let Original::Stored(generation) = claim.original else {
            return None;
        };
        let key = text_key(&claim.document.acl.tenant, claim.lease.document, generation);
        let stored = StoredText::open(self.stores.blobs.as_ref(), key).await.ok()?;
        match stored.parser() == self.stores.parser.fingerprint() {
            true => stored.document().await.ok(),
            false => None,
        }
    }

    /// Points visible, then one row flips, then everything older goes.
    async fn publish(&self, claim: &Claim, version: PublishedVersion) -> Result<(), Trouble> {
        let (lease, now) = (&claim.lease, (self.clock)());
        self.stores
            .index
            .publish(lease.document, lease.generation)
            .await?;
        let flipped = self.stores.catalogue.publish(lease, version, now).await?;
        if flipped.acl_revision != claim.document.acl_revision {
            self.refresh_access(claim).await;
        }
        if let Err(trouble) = self.remove_older(claim).await {
            tracing::warn!(document = %lease.document, error = %trouble.error.detail, "older version not purged yet");
        }
        Ok(())
    }

    async fn note(&self, lease: &Lease, stage: Stage, done: u64, total: u64) -> Result<(), Trouble> {
        let progress = Progress { stage, done, total };
        Ok(self
            .stores
            .catalogue
            .progress(lease, progress, (self.clock)())
            .await?)
    }

    /// Ends a job for good, or puts it back with a longer wait each time.
    async fn settle(&self, claim: &Claim, trouble: &Trouble) -> Result<Outcome, CatalogueError> {
        let (catalogue, error, now) = (&self.stores.catalogue, trouble.error.clone(), (self.clock)());
        if trouble.may_pass && claim.lease.attempt < self.settings.max_attempts {
            let not_before = now + self.wait(claim.lease.attempt);
            catalogue
                .retry(&claim.lease, error.clone(), not_before, now)
                .await?;
            return Ok(Outcome::Retried(error));
        }
        catalogue.fail(&claim.lease, error.clone(), now).await?;
        self.discard(claim).await;
        Ok(Outcome::Failed(error))
    }

    /// Exponential with full jitter above half: between a half and the whole of base * 2^(attempt - 1).
    fn wait(&self, attempt: u32) -> Duration {
        let doubled = self
            .settings
            .retry_base
            .saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let whole = doubled.min(self.settings.retry_cap);
        let jitter = f64::from((self.new_id)().as_u128() as u16) / f64::from(u16::MAX);
        whole.mul_f64(0.5 + 0.5 * jitter)
    }
}

/// The caller's title, else the file's own, else its name without the extension.
fn title(claim: &Claim, parsed: &ParsedDocument) -> String {
    let stem = || {
        claim
            .name
            .rsplit_once('.')
            .map_or(claim.name.as_str(), |(stem, _)| stem)
            .to_owned()
    };
    let own = parsed.title.clone().filter(|title| !title.trim().is_empty());
    claim.given_title.clone().or(own).unwrap_or_else(stem)
}

/// A segment with its place in the document.
struct Numbered<'a> {
    ordinal: u32,
    segment: &'a Segment,
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
