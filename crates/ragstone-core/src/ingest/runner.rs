//! The story of a job: claimed, carried out under its lease, and its end noted.
//!
//! Invariant: a worker whose lease went stale removes what it wrote and changes nothing else; the end of a job that the
//! catalogue could not note is noted before the next job is claimed.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::context::IngestContext;
use super::documents::DocumentPipeline;
use super::keep::{Interruption, LeaseKeeper};
use super::purge::Purger;
use super::trouble::{RetryPolicy, StepError};
use crate::document::{JobError, JobKind, WorkerId};
use crate::failure_log::TARGET;
use crate::id::JobId;
use crate::seam::CatalogueError;
use crate::seam::catalogue::{ClaimedJob, RetryDelay};

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

/// Claims jobs, carries them out and notes how they ended.
pub struct JobRunner {
    context: Arc<IngestContext>,
    leases: Arc<LeaseKeeper>,
    documents: Arc<DocumentPipeline>,
    purger: Arc<Purger>,
    /// Jobs whose end the catalogue could not note: a disk that is full takes no note of that.
    pending_outcomes: Mutex<Vec<(ClaimedJob, Interruption)>>,
    /// Those of them whose end is noted by now, and nobody was told.
    flushed_jobs: Mutex<Vec<JobId>>,
}

impl JobRunner {
    pub(super) fn new(
        context: &Arc<IngestContext>,
        leases: &Arc<LeaseKeeper>,
        documents: &Arc<DocumentPipeline>,
        purger: &Arc<Purger>,
    ) -> Self {
        Self {
            context: context.clone(),
            leases: leases.clone(),
            documents: documents.clone(),
            purger: purger.clone(),
            pending_outcomes: Mutex::default(),
            flushed_jobs: Mutex::default(),
        }
    }

    /// Takes the next job, if one waits, and carries it out.
    pub async fn run_next(&self, worker: WorkerId) -> Result<Option<(JobId, JobOutcome)>, CatalogueError> {
        let Some(claim) = self.claim_job(worker).await? else {
            return Ok(None);
        };
        let outcome = self.run_job(&claim, std::future::pending()).await?;
        Ok(Some((claim.job.id, outcome)))
    }

    /// Takes the next job for `worker`, if one waits; [`JobRunner::run_job`] carries it out. Ends that could not be noted
    /// are noted first.
    pub async fn claim_job(&self, worker: WorkerId) -> Result<Option<ClaimedJob>, CatalogueError> {
        self.flush_pending_outcomes().await?;
        let catalogue = &self.context.stores.catalogue;
        catalogue
            .claim_job(worker, self.context.settings.lease, self.context.current_moment())
            .await
    }

    /// Carries out a job, unless its lease is lost meanwhile or `shutdown` ends first. A poisoned one is ended.
    pub async fn run_job(
        &self,
        claim: &ClaimedJob,
        shutdown: impl Future<Output = ()>,
    ) -> Result<JobOutcome, CatalogueError> {
        if let Some(error) = &claim.poisoned {
            return self
                .record_outcome(claim, Interruption::Failed(StepError::without_retry(error.clone())))
                .await;
        }
        let work = async {
            match claim.job.kind {
                JobKind::Purge => self.purger.purge_document(claim).await,
                _ => self.documents.ingest_document(claim).await,
            }
        };
        match self.leases.with_lease(&claim.lease, work, shutdown).await {
            Ok(()) => Ok(JobOutcome::Succeeded),
            Err(left) => self.record_outcome(claim, left).await,
        }
    }

    /// Notes what became of a job that did not succeed.
    async fn record_outcome(&self, claim: &ClaimedJob, left: Interruption) -> Result<JobOutcome, CatalogueError> {
        let settled = match &left {
            Interruption::Shutdown => self.hand_back_job(claim).await,
            Interruption::Failed(trouble) if trouble.stale => Err(CatalogueError::Stale),
            Interruption::Failed(trouble) => self.fail_or_retry(claim, trouble).await,
        };
        match settled {
            Err(CatalogueError::Stale) => {
                self.purger.remove_attempt(claim).await;
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

    /// Jobs whose end was noted after their [`JobRunner::run_job`] had given up on that; each is told once.
    pub fn take_flushed(&self) -> Vec<JobId> {
        std::mem::take(&mut self.lock_flushed_jobs())
    }

    fn lock_flushed_jobs(&self) -> MutexGuard<'_, Vec<JobId>> {
        self.flushed_jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pending_outcomes(&self) -> MutexGuard<'_, Vec<(ClaimedJob, Interruption)>> {
        self.pending_outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a job for good, or puts it back with a longer wait each time.
    async fn fail_or_retry(&self, claim: &ClaimedJob, trouble: &StepError) -> Result<JobOutcome, CatalogueError> {
        let (catalogue, error) = (&self.context.stores.catalogue, trouble.error.clone());
        let outcome = match self.plan_retry(claim, trouble) {
            Some(wait) => {
                let now = self.context.current_moment();
                catalogue.schedule_retry(&claim.lease, error.clone(), wait, now).await?;
                JobOutcome::Retried(error)
            }
            None => {
                self.purger.remove_all_attempts(claim).await;
                let error = trouble.final_job_error(claim.job.attempts);
                catalogue
                    .fail_job(&claim.lease, error.clone(), self.context.now())
                    .await?;
                // The detail may quote what a service or a parser was given; `ragstone job show` has it.
                let (job, document, code) = (claim.job.id, claim.lease.document, error.code.as_str());
                tracing::warn!(target: TARGET, %job, %document, code, "job failed");
                JobOutcome::Failed(error)
            }
        };
        self.purger.remove_attempt_points(claim).await;
        Ok(outcome)
    }

    /// When the job is tried again, if it is.
    fn plan_retry(&self, claim: &ClaimedJob, trouble: &StepError) -> Option<RetryDelay> {
        let (failures, settings) = (claim.failures + 1, &self.context.settings);
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
        self.context
            .stores
            .catalogue
            .release_job(&claim.lease, self.context.now())
            .await?;
        self.purger.remove_attempt_points(claim).await;
        Ok(JobOutcome::HandedBack)
    }

    /// Exponential with full jitter above half: between a half and the whole of base * 2^(failures - 1).
    pub(super) fn backoff_delay(&self, failures: u32) -> Duration {
        let doubled = self
            .context
            .settings
            .retry_base
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        let whole = doubled.min(self.context.settings.retry_cap);
        let jitter = f64::from(self.context.new_id().as_u128() as u16) / f64::from(u16::MAX);
        whole.mul_f64(0.5 + 0.5 * jitter)
    }
}
