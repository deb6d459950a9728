//! The story of ingestion: accept, then for each job load, parse, split, embed batch by batch, publish.
//!
//! Memory does not follow the file: text goes to the store page by page while it is parsed and comes back page by page
//! to be split. A format without pages is one page, so there it follows the text, which `parse.max_text_bytes` bounds.
//!
//! Invariant: nothing is visible before `publish`, which is one row in the catalogue; every step may be repeated, and
//! a worker whose lease went stale removes what it wrote and changes nothing else.

mod accept;
mod arrival;
mod attached;
mod batch;
mod embedding;
pub mod fsck;
mod grant;
mod keep;
mod manifest;
mod marker;
mod names;
mod parse;
mod pipeline;
mod purge;
mod read;
mod recover;
mod restore;
mod revector;
mod settings;
mod statistics;
mod trouble;
mod vector_report;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use object_store::ObjectStore;
use time::OffsetDateTime;
use uuid::Uuid;

pub use accept::{AcceptError, MAX_TITLE_BYTES, ReceivedFile, UploadMetadata};
pub use embedding::EmbeddingCacheStats;
pub use fsck::UploadSharing;
pub use grant::{GrantError, GrantRequest};
pub use keep::{HEARTBEAT_INTERVAL, MonotonicClockFn, SleepFn, TimeProvider};
pub use manifest::ManifestError;
pub use names::{percent_encode_text, upload_uri};
pub use pipeline::IngestPipeline;
pub use recover::{RecoveryCounts, RecoveryError};
pub use restore::{VersionImportError, VersionImportOutcome};
pub use settings::IngestSettings;

use crate::document::{DocumentOutline, JobError, JobKind, JobStage, WorkerId};
use crate::failure_log::TARGET;
use crate::id::JobId;
use crate::seam::catalogue::{ClaimedJob, JobLease, JobProgress, PublishedVersion, RetryDelay};
use crate::seam::{Catalogue, CatalogueError, DocumentParser, EmbeddingCache, VectorIndex};
use trouble::{RetryPolicy, StepError};

/// Tells the time.
pub type WallClockFn = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;
/// Gives a fresh random id.
pub type IdGenerator = Arc<dyn Fn() -> Uuid + Send + Sync>;

/// What ingestion stands on.
pub struct IngestStores {
    /// The truth about documents and jobs.
    pub catalogue: Arc<dyn Catalogue>,
    /// Where chunks are found.
    pub index: Arc<dyn VectorIndex>,
    /// Originals and extracted text.
    pub blobs: Arc<dyn ObjectStore>,
    /// Bytes to text.
    pub parser: Arc<dyn DocumentParser>,
    /// What was embedded before; none where nothing is kept of it.
    pub embeddings: Option<Arc<dyn EmbeddingCache>>,
}

/// Takes documents in and carries out their jobs.
pub struct Ingestor {
    stores: IngestStores,
    settings: IngestSettings,
    pipeline: RwLock<Arc<IngestPipeline>>,
    cached: EmbeddingCacheStats,
    clock: WallClockFn,
    time: TimeProvider,
    new_id: IdGenerator,
    writes: keep::ActiveWrites,
    marker: marker::GenerationMarker,
    /// Uploads that are not begun yet.
    in_flight: arrival::SharedUploads,
    /// Jobs whose end the catalogue could not note: a disk that is full takes no note of that.
    pending_outcomes: Mutex<Vec<(ClaimedJob, keep::Interruption)>>,
    /// Those of them whose end is noted by now, and nobody was told.
    flushed_jobs: Mutex<Vec<JobId>>,
}

/// How a job ended this time.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutcome {
    /// It is done.
    Succeeded,
    /// It failed for good.
    Failed(JobError),
    /// It goes back into the queue.
    Retried(JobError),
    /// Somebody else has it, or it was cancelled; what was written is removed.
    Stale,
    /// Its worker was told to stop: it waits in its old place, and what was written is removed.
    HandedBack,
}

impl Ingestor {
    /// An ingestor whose new versions are made by `pipeline`.
    pub fn new(
        stores: IngestStores,
        settings: IngestSettings,
        pipeline: IngestPipeline,
        time: TimeProvider,
        new_id: IdGenerator,
    ) -> Self {
        Self {
            stores,
            settings,
            pipeline: RwLock::new(Arc::new(pipeline)),
            cached: EmbeddingCacheStats::default(),
            clock: time.wall.clone(),
            time,
            new_id,
            writes: keep::ActiveWrites::default(),
            marker: marker::GenerationMarker::default(),
            in_flight: arrival::SharedUploads::default(),
            pending_outcomes: Mutex::default(),
            flushed_jobs: Mutex::default(),
        }
    }

    /// The pipeline that makes new versions.
    pub fn pipeline(&self) -> Arc<IngestPipeline> {
        self.pipeline.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes new versions by another pipeline from now on; running jobs end with theirs.
    pub fn set_pipeline(&self, pipeline: IngestPipeline) {
        *self.pipeline.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pipeline);
    }

    /// Takes the next job, if one waits, and carries it out.
    pub async fn run_next(&self, worker: WorkerId) -> Result<Option<(JobId, JobOutcome)>, CatalogueError> {
        let Some(claim) = self.claim_job(worker).await? else {
            return Ok(None);
        };
        let outcome = self.run_job(&claim, std::future::pending()).await?;
        Ok(Some((claim.job.id, outcome)))
    }

    /// Takes the next job for `worker`, if one waits; [`Ingestor::run_job`] carries it out. Ends that could not be noted are
    /// noted first.
    pub async fn claim_job(&self, worker: WorkerId) -> Result<Option<ClaimedJob>, CatalogueError> {
        self.flush_pending_outcomes().await?;
        let catalogue = &self.stores.catalogue;
        catalogue
            .claim_job(worker, self.settings.lease, self.current_moment())
            .await
    }

    /// Carries out a job, unless its lease is lost meanwhile or `told_to_stop` ends first. A poisoned one is ended.
    pub async fn run_job(
        &self,
        claim: &ClaimedJob,
        shutdown: impl Future<Output = ()>,
    ) -> Result<JobOutcome, CatalogueError> {
        if let Some(error) = &claim.poisoned {
            return self
                .record_outcome(
                    claim,
                    keep::Interruption::Failed(StepError::without_retry(error.clone())),
                )
                .await;
        }
        let work = async {
            match claim.job.kind {
                JobKind::Purge => self.purge_document(claim).await,
                _ => self.ingest_document(claim).await,
            }
        };
        match self.with_lease(&claim.lease, work, shutdown).await {
            Ok(()) => Ok(JobOutcome::Succeeded),
            Err(left) => self.record_outcome(claim, left).await,
        }
    }

    /// Notes what became of a job that did not succeed.
    async fn record_outcome(&self, claim: &ClaimedJob, left: keep::Interruption) -> Result<JobOutcome, CatalogueError> {
        let settled = match &left {
            keep::Interruption::Shutdown => self.hand_back_job(claim).await,
            keep::Interruption::Failed(trouble) if trouble.stale => Err(CatalogueError::Stale),
            keep::Interruption::Failed(trouble) => self.fail_or_retry(claim, trouble).await,
        };
        match settled {
            Err(CatalogueError::Stale) => {
                self.remove_attempt(claim).await;
                Ok(JobOutcome::Stale)
            }
            Err(error) => {
                self.pending_outcomes().push((claim.clone(), left));
                Err(error)
            }
            settled => settled,
        }
    }

    /// Notes the ends that could not be noted when they came.
    async fn flush_pending_outcomes(&self) -> Result<(), CatalogueError> {
        loop {
            let next = self.pending_outcomes().pop();
            let Some((claim, left)) = next else {
                return Ok(());
            };
            let outcome = self.record_outcome(&claim, left).await?;
            tracing::info!(job = %claim.job.id, ?outcome, "the end of a job is noted late");
            self.lock_flushed_jobs().push(claim.job.id);
        }
    }

    /// Jobs whose end was noted after their [`Ingestor::run_job`] had given up on that; each is told once.
    pub fn take_flushed(&self) -> Vec<JobId> {
        std::mem::take(&mut self.lock_flushed_jobs())
    }

    fn lock_flushed_jobs(&self) -> MutexGuard<'_, Vec<JobId>> {
        self.flushed_jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending_outcomes(&self) -> MutexGuard<'_, Vec<(ClaimedJob, keep::Interruption)>> {
        self.pending_outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// load -> parse -> split -> embed and store -> publish.
    async fn ingest_document(&self, claim: &ClaimedJob) -> Result<(), StepError> {
        let pipeline = self.pipeline();
        if claim.lease.attempt > 1 {
            self.remove_stray_points(claim).await?;
        }
        self.report_progress(&claim.lease, JobStage::Load, 0, 1).await?;
        self.uncancellable(&claim.lease, self.store_original(claim)).await?;
        let text = self.parse_document(claim).await?;
        let title = choose_title(claim, text.outline());
        let chunks = self.count_chunks(claim, &pipeline, &text).await?;
        let (statistics, vectors) = self.embed_and_store(claim, &pipeline, &text, &title, chunks).await?;
        self.report_progress(&claim.lease, JobStage::Publish, 0, 1).await?;
        self.uncancellable(&claim.lease, self.remove_stale_attachments(claim, text.outline()))
            .await?;
        let version = PublishedVersion {
            title,
            media_type: text.media_type().to_owned(),
            pages: text.pages().iter().filter_map(|span| span.page).max(),
            chunks,
            warnings: [text.outline().warnings.clone(), vectors.into_warnings()].concat(),
            pipeline: pipeline.fingerprint().to_owned(),
            statistics,
        };
        let now = (self.clock)();
        self.uncancellable(&claim.lease, self.publish_version(claim, version, now))
            .await
    }

    /// The manifest first, so that no version is ever published without one; points visible, then one row flips, then
    /// everything older goes.
    async fn publish_version(
        &self,
        claim: &ClaimedJob,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> Result<(), StepError> {
        let lease = &claim.lease;
        let manifest = self.put_manifest(claim, &version, now).await?;
        self.stores
            .index
            .publish_generation(lease.document, lease.generation)
            .await?;
        let flipped = self.stores.catalogue.publish_version(lease, version, now).await?;
        self.record_generation(lease.generation).await;
        if flipped.acl_revision != claim.document.acl_revision {
            self.reload_point_access(claim).await;
        }
        // The older version's manifest may be the one that knows of readers who were taken away meanwhile.
        let removed = match self.confirm_manifest(&manifest).await {
            Ok(()) => self.remove_older_generations(claim).await,
            Err(error) => Err(error.into()),
        };
        if let Err(trouble) = removed {
            tracing::warn!(document = %lease.document, error = %trouble.error.detail, "older version not purged yet");
        }
        Ok(())
    }

    async fn report_progress(&self, lease: &JobLease, stage: JobStage, done: u64, total: u64) -> Result<(), StepError> {
        let progress = JobProgress { stage, done, total };
        Ok(self
            .stores
            .catalogue
            .record_progress(lease, progress, self.current_moment())
            .await?)
    }

    /// Ends a job for good, or puts it back with a longer wait each time.
    async fn fail_or_retry(&self, claim: &ClaimedJob, trouble: &StepError) -> Result<JobOutcome, CatalogueError> {
        let (catalogue, error) = (&self.stores.catalogue, trouble.error.clone());
        let outcome = match self.plan_retry(claim, trouble) {
            Some(wait) => {
                let now = self.current_moment();
                catalogue.schedule_retry(&claim.lease, error.clone(), wait, now).await?;
                JobOutcome::Retried(error)
            }
            None => {
                self.remove_all_attempts(claim).await;
                let error = trouble.final_job_error(claim.job.attempts);
                catalogue.fail_job(&claim.lease, error.clone(), (self.clock)()).await?;
                // The detail may quote what a service or a parser was given; `ragstone job show` has it.
                let (job, document, code) = (claim.job.id, claim.lease.document, error.code.as_str());
                tracing::warn!(target: TARGET, %job, %document, code, "job failed");
                JobOutcome::Failed(error)
            }
        };
        self.remove_attempt_points(claim).await;
        Ok(outcome)
    }

    /// When the job is tried again, if it is.
    fn plan_retry(&self, claim: &ClaimedJob, trouble: &StepError) -> Option<RetryDelay> {
        let (failures, settings) = (claim.failures + 1, &self.settings);
        let spending =
            || (failures < settings.max_attempts).then(|| RetryDelay::after_failure(self.backoff_delay(failures)));
        match trouble.retry {
            RetryPolicy::Never => None,
            RetryPolicy::Counted => spending(),
            RetryPolicy::CountedOnce => {
                // The ledger keeps the error of the last attempt; a retry by hand clears it.
                let last = claim.job.error.as_ref();
                let repeated = last.is_some_and(|last| last.code == trouble.error.code);
                if repeated { None } else { spending() }
            }
            RetryPolicy::Uncounted { after } => {
                let attempts = claim.job.attempts;
                let wait = || self.backoff_delay(attempts).max(after.unwrap_or_default());
                (attempts < settings.max_outage_attempts)
                    .then(|| RetryDelay::after_outage(wait().min(settings.retry_cap)))
            }
        }
    }

    async fn hand_back_job(&self, claim: &ClaimedJob) -> Result<JobOutcome, CatalogueError> {
        self.stores.catalogue.release_job(&claim.lease, (self.clock)()).await?;
        self.remove_attempt_points(claim).await;
        Ok(JobOutcome::HandedBack)
    }

    /// Exponential with full jitter above half: between a half and the whole of base * 2^(failures - 1).
    fn backoff_delay(&self, failures: u32) -> Duration {
        let doubled = self
            .settings
            .retry_base
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        let whole = doubled.min(self.settings.retry_cap);
        let jitter = f64::from((self.new_id)().as_u128() as u16) / f64::from(u16::MAX);
        whole.mul_f64(0.5 + 0.5 * jitter)
    }
}

/// The caller's title, else the file's own, else its name without the extension.
fn choose_title(claim: &ClaimedJob, outline: &DocumentOutline) -> String {
    let own = outline.title.clone().filter(|title| !title.trim().is_empty());
    let title = claim.given_title.clone().or(own);
    title.unwrap_or_else(|| claim.file_stem().to_owned())
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod tests;
