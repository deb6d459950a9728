//! Keeping a lease while its job is at work, and letting go of the work when the lease is gone.
//!
//! Invariant: a write that has begun is never dropped half way, so what is removed afterwards stays removed.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use super::context::IngestContext;
use super::trouble::{RetryPolicy, StepError};
use crate::document::JobStage;
use crate::id::JobId;
use crate::seam::CatalogueError;
use crate::seam::catalogue::{JobLease, JobProgress};

/// How often a worker at work gives a sign of life and sees whether its job was cancelled or taken over.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(400);

/// Jobs of which a write is under way.
type ActiveWrites = Mutex<HashSet<JobId>>;

/// Why work ended without its result.
pub(super) enum Interruption {
    /// It went wrong, or the lease is gone.
    Failed(StepError),
    /// The worker was told to stop.
    Shutdown,
}

/// Keeps the leases of running jobs, and tells the ledger how far they are.
pub(super) struct LeaseKeeper {
    context: Arc<IngestContext>,
    writes: ActiveWrites,
}

impl LeaseKeeper {
    pub(super) fn new(context: &Arc<IngestContext>) -> Self {
        Self {
            context: context.clone(),
            writes: ActiveWrites::default(),
        }
    }

    /// Does `work` while the lease holds and nobody says to stop; what is left of it then is dropped, between two writes.
    pub(super) async fn with_lease<T>(
        &self,
        lease: &JobLease,
        work: impl Future<Output = Result<T, StepError>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<T, Interruption> {
        let (mut work, mut lost, mut told) = (pin!(work), pin!(self.wait_until_lease_lost(lease)), pin!(shutdown));
        let mut left = None;
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(done.map_err(Interruption::Failed));
            }
            if left.is_none()
                && let Poll::Ready(trouble) = lost.as_mut().poll(context)
            {
                left = Some(Interruption::Failed(trouble));
            }
            if left.is_none()
                && let Poll::Ready(()) = told.as_mut().poll(context)
            {
                left = Some(Interruption::Shutdown);
            }
            if self.active_writes().contains(&lease.job) {
                return Poll::Pending;
            }
            left.take().map_or(Poll::Pending, |left| Poll::Ready(Err(left)))
        })
        .await
    }

    /// A write that comes to its end even if the lease is lost meanwhile.
    pub(super) async fn uncancellable<T>(&self, lease: &JobLease, write: impl Future<Output = T>) -> T {
        let _under_way = ActiveWriteGuard::begin_write(self, lease.job);
        write.await
    }

    /// Ends when the lease is gone, or the job has not moved for too long.
    async fn wait_until_lease_lost(&self, lease: &JobLease) -> StepError {
        let (catalogue, settings) = (&self.context.stores.catalogue, &self.context.settings);
        loop {
            self.context.sleep_for(HEARTBEAT_INTERVAL).await;
            match catalogue
                .extend_lease(lease, settings.lease, self.context.current_moment())
                .await
            {
                Ok(idle) if idle >= settings.stall => return stalled_error(idle),
                Ok(_) => {}
                Err(error @ CatalogueError::Stale) => return error.into(),
                Err(error) => tracing::warn!(job = %lease.job, %error, "no sign of life could be given"),
            }
        }
    }

    fn active_writes(&self) -> MutexGuard<'_, HashSet<JobId>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes in the ledger how far the job is.
    pub(super) async fn report_progress(
        &self,
        lease: &JobLease,
        stage: JobStage,
        done: u64,
        total: u64,
    ) -> Result<(), StepError> {
        let progress = JobProgress { stage, done, total };
        Ok(self
            .context
            .stores
            .catalogue
            .record_progress(lease, progress, self.context.current_moment())
            .await?)
    }
}

fn stalled_error(idle: Duration) -> StepError {
    let detail = format!("no progress for {} seconds", idle.as_secs());
    StepError::new("stalled", detail, "it is tried again by itself", RetryPolicy::Counted)
}

/// Marks a write, also over the writes within it.
struct ActiveWriteGuard<'a> {
    leases: &'a LeaseKeeper,
    job: JobId,
    is_outer: bool,
}

impl<'a> ActiveWriteGuard<'a> {
    fn begin_write(leases: &'a LeaseKeeper, job: JobId) -> Self {
        let is_outer = leases.active_writes().insert(job);
        Self { leases, job, is_outer }
    }
}

impl Drop for ActiveWriteGuard<'_> {
    fn drop(&mut self) {
        if self.is_outer {
            self.leases.active_writes().remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests;
