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

pub use accept::{AcceptError, MAX_TITLE_BYTES, Received, Upload};
pub use embedding::CacheCounts;
pub use fsck::Uploads;
pub use grant::{GrantError, Grants};
pub use keep::{HEARTBEAT, Sleep, Steady, Time};
pub use manifest::ManifestError;
pub use names::{percent_encoded, upload_uri};
pub use pipeline::Pipeline;
pub use recover::{RecoverError, Recovered};
pub use restore::{RestoreError, Restored};
pub use settings::IngestSettings;

use crate::document::{JobError, JobKind, Outline, Stage, Worker};
use crate::failure_log::TARGET;
use crate::id::JobId;
use crate::seam::catalogue::{Claim, Lease, Progress, PublishedVersion, Wait};
use crate::seam::{Catalogue, CatalogueError, EmbeddingCache, Parser, VectorIndex};
use trouble::{Retry, Trouble};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;
/// Gives a fresh random id.
pub type NewId = Arc<dyn Fn() -> Uuid + Send + Sync>;

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
    /// What was embedded before; none where nothing is kept of it.
    pub embeddings: Option<Arc<dyn EmbeddingCache>>,
}

/// Takes documents in and carries out their jobs.
pub struct Ingestor {
    stores: Stores,
    settings: IngestSettings,
    pipeline: RwLock<Arc<Pipeline>>,
    cached: CacheCounts,
    clock: Clock,
    time: Time,
    new_id: NewId,
    writes: keep::Writes,
    marker: marker::Marker,
    /// Uploads that are not begun yet.
    in_flight: arrival::InFlight,
    /// Jobs whose end the catalogue could not note: a disk that is full takes no note of that.
    unsettled: Mutex<Vec<(Claim, keep::Left)>>,
    /// Those of them whose end is noted by now, and nobody was told.
    noted_late: Mutex<Vec<JobId>>,
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
    /// Its worker was told to stop: it waits in its old place, and what was written is removed.
    HandedBack,
}

impl Ingestor {
    /// An ingestor whose new versions are made by `pipeline`.
    pub fn new(stores: Stores, settings: IngestSettings, pipeline: Pipeline, time: Time, new_id: NewId) -> Self {
        Self {
            stores,
            settings,
            pipeline: RwLock::new(Arc::new(pipeline)),
            cached: CacheCounts::default(),
            clock: time.wall.clone(),
            time,
            new_id,
            writes: keep::Writes::default(),
            marker: marker::Marker::default(),
            in_flight: arrival::InFlight::default(),
            unsettled: Mutex::default(),
            noted_late: Mutex::default(),
        }
    }

    /// The pipeline that makes new versions.
    pub fn pipeline(&self) -> Arc<Pipeline> {
        self.pipeline.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes new versions by another pipeline from now on; running jobs end with theirs.
    pub fn set_pipeline(&self, pipeline: Pipeline) {
        *self.pipeline.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pipeline);
    }

    /// Takes the next job, if one waits, and carries it out.
    pub async fn run_next(&self, worker: Worker) -> Result<Option<(JobId, Outcome)>, CatalogueError> {
        let Some(claim) = self.claim(worker).await? else {
            return Ok(None);
        };
        let outcome = self.run(&claim, std::future::pending()).await?;
        Ok(Some((claim.job.id, outcome)))
    }

    /// Takes the next job for `worker`, if one waits; [`Ingestor::run`] carries it out. Ends that could not be noted are
    /// noted first.
    pub async fn claim(&self, worker: Worker) -> Result<Option<Claim>, CatalogueError> {
        self.settle_the_rest().await?;
        let catalogue = &self.stores.catalogue;
        catalogue.claim(worker, self.settings.lease, self.moment()).await
    }

    /// Carries out a job, unless its lease is lost meanwhile or `told_to_stop` ends first. A poisoned one is ended.
    pub async fn run(&self, claim: &Claim, told_to_stop: impl Future<Output = ()>) -> Result<Outcome, CatalogueError> {
        if let Some(error) = &claim.poisoned {
            return self.end(claim, keep::Left::Trouble(Trouble::last(error.clone()))).await;
        }
        let work = async {
            match claim.job.kind {
                JobKind::Purge => self.purge(claim).await,
                _ => self.ingest(claim).await,
            }
        };
        match self.kept(&claim.lease, work, told_to_stop).await {
            Ok(()) => Ok(Outcome::Succeeded),
            Err(left) => self.end(claim, left).await,
        }
    }

    /// Notes what became of a job that did not succeed.
    async fn end(&self, claim: &Claim, left: keep::Left) -> Result<Outcome, CatalogueError> {
        let settled = match &left {
            keep::Left::Told => self.hand_back(claim).await,
            keep::Left::Trouble(trouble) if trouble.stale => Err(CatalogueError::Stale),
            keep::Left::Trouble(trouble) => self.settle(claim, trouble).await,
        };
        match settled {
            Err(CatalogueError::Stale) => {
                self.leave_nothing(claim).await;
                Ok(Outcome::Stale)
            }
            Err(error) => {
                self.unsettled().push((claim.clone(), left));
                Err(error)
            }
            settled => settled,
        }
    }

    /// Notes the ends that could not be noted when they came.
    async fn settle_the_rest(&self) -> Result<(), CatalogueError> {
        loop {
            let next = self.unsettled().pop();
            let Some((claim, left)) = next else {
                return Ok(());
            };
            let outcome = self.end(&claim, left).await?;
            tracing::info!(job = %claim.job.id, ?outcome, "the end of a job is noted late");
            self.late().push(claim.job.id);
        }
    }

    /// Jobs whose end was noted after their [`Ingestor::run`] had given up on that; each is told once.
    pub fn noted_late(&self) -> Vec<JobId> {
        std::mem::take(&mut self.late())
    }

    fn late(&self) -> MutexGuard<'_, Vec<JobId>> {
        self.noted_late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsettled(&self) -> MutexGuard<'_, Vec<(Claim, keep::Left)>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// load -> parse -> split -> embed and store -> publish.
    async fn ingest(&self, claim: &Claim) -> Result<(), Trouble> {
        let pipeline = self.pipeline();
        if claim.lease.attempt > 1 {
            self.remove_strays(claim).await?;
        }
        self.note(&claim.lease, Stage::Load, 0, 1).await?;
        self.whole(&claim.lease, self.load(claim)).await?;
        let text = self.parse(claim).await?;
        let title = title(claim, text.outline());
        let chunks = self.count(claim, &pipeline, &text).await?;
        let (statistics, vectors) = self.embed(claim, &pipeline, &text, &title, chunks).await?;
        self.note(&claim.lease, Stage::Publish, 0, 1).await?;
        self.whole(&claim.lease, self.detach_the_rest(claim, text.outline()))
            .await?;
        let version = PublishedVersion {
            title,
            media_type: text.media_type().to_owned(),
            pages: text.pages().iter().filter_map(|span| span.page).max(),
            chunks,
            warnings: [text.outline().warnings.clone(), vectors.warnings()].concat(),
            pipeline: pipeline.fingerprint().to_owned(),
            statistics,
        };
        let now = (self.clock)();
        self.whole(&claim.lease, self.publish(claim, version, now)).await
    }

    /// The manifest first, so that no version is ever published without one; points visible, then one row flips, then
    /// everything older goes.
    async fn publish(&self, claim: &Claim, version: PublishedVersion, now: OffsetDateTime) -> Result<(), Trouble> {
        let lease = &claim.lease;
        let manifest = self.put_manifest(claim, &version, now).await?;
        self.stores.index.publish(lease.document, lease.generation).await?;
        let flipped = self.stores.catalogue.publish(lease, version, now).await?;
        self.reached(lease.generation).await;
        if flipped.acl_revision != claim.document.acl_revision {
            self.refresh_access(claim).await;
        }
        // The older version's manifest may be the one that knows of readers who were taken away meanwhile.
        let removed = match self.confirm_manifest(&manifest).await {
            Ok(()) => self.remove_older(claim).await,
            Err(error) => Err(error.into()),
        };
        if let Err(trouble) = removed {
            tracing::warn!(document = %lease.document, error = %trouble.error.detail, "older version not purged yet");
        }
        Ok(())
    }

    async fn note(&self, lease: &Lease, stage: Stage, done: u64, total: u64) -> Result<(), Trouble> {
        let progress = Progress { stage, done, total };
        Ok(self.stores.catalogue.progress(lease, progress, self.moment()).await?)
    }

    /// Ends a job for good, or puts it back with a longer wait each time.
    async fn settle(&self, claim: &Claim, trouble: &Trouble) -> Result<Outcome, CatalogueError> {
        let (catalogue, error) = (&self.stores.catalogue, trouble.error.clone());
        let outcome = match self.another_attempt(claim, trouble) {
            Some(wait) => {
                let now = self.moment();
                catalogue.retry(&claim.lease, error.clone(), wait, now).await?;
                Outcome::Retried(error)
            }
            None => {
                self.remove_attempts(claim).await;
                let error = trouble.given_up(claim.job.attempts);
                catalogue.fail(&claim.lease, error.clone(), (self.clock)()).await?;
                // The detail may quote what a service or a parser was given; `ragstone job show` has it.
                let (job, document, code) = (claim.job.id, claim.lease.document, error.code.as_str());
                tracing::warn!(target: TARGET, %job, %document, code, "job failed");
                Outcome::Failed(error)
            }
        };
        self.discard(claim).await;
        Ok(outcome)
    }

    /// When the job is tried again, if it is.
    fn another_attempt(&self, claim: &Claim, trouble: &Trouble) -> Option<Wait> {
        let (failures, settings) = (claim.failures + 1, &self.settings);
        let spending = || (failures < settings.max_attempts).then(|| Wait::spending(self.wait(failures)));
        match trouble.retry {
            Retry::Never => None,
            Retry::Spends => spending(),
            Retry::SpendsOnce => {
                // The ledger keeps the error of the last attempt; a retry by hand clears it.
                let last = claim.job.error.as_ref();
                let repeated = last.is_some_and(|last| last.code == trouble.error.code);
                if repeated { None } else { spending() }
            }
            Retry::Free { after } => {
                let attempts = claim.job.attempts;
                let wait = || self.wait(attempts).max(after.unwrap_or_default());
                (attempts < settings.max_outage_attempts).then(|| Wait::free(wait().min(settings.retry_cap)))
            }
        }
    }

    async fn hand_back(&self, claim: &Claim) -> Result<Outcome, CatalogueError> {
        self.stores.catalogue.hand_back(&claim.lease, (self.clock)()).await?;
        self.discard(claim).await;
        Ok(Outcome::HandedBack)
    }

    /// Exponential with full jitter above half: between a half and the whole of base * 2^(failures - 1).
    fn wait(&self, failures: u32) -> Duration {
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
fn title(claim: &Claim, outline: &Outline) -> String {
    let own = outline.title.clone().filter(|title| !title.trim().is_empty());
    let title = claim.given_title.clone().or(own);
    title.unwrap_or_else(|| claim.stem().to_owned())
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod tests;
