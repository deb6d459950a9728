//! Keeping a lease while its job is at work, and letting go of the work when the lease is gone.
//!
//! Invariant: a write that has begun is never dropped half way, so what is removed afterwards stays removed.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Clock, Ingestor, Retry, Trouble};
use crate::id::JobId;
use crate::seam::CatalogueError;
use crate::seam::catalogue::{Lease, Moment};

/// How often a worker at work gives a sign of life and sees whether its job was cancelled or taken over.
pub const HEARTBEAT: Duration = Duration::from_millis(400);

/// Tells the time since the process started; it only grows.
pub type Steady = Arc<dyn Fn() -> Duration + Send + Sync>;
/// Ends after the given time.
pub type Sleep = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// What ingestion knows of time.
#[derive(Clone)]
pub struct Time {
    /// For people.
    pub wall: Clock,
    /// For leases and waits.
    pub steady: Steady,
    /// Waits.
    pub sleep: Sleep,
}

/// Jobs of which a write is under way.
pub(super) type Writes = Mutex<HashSet<JobId>>;

/// Why work ended without its result.
pub(super) enum Left {
    /// It went wrong, or the lease is gone.
    Trouble(Trouble),
    /// The worker was told to stop.
    Told,
}

impl Ingestor {
    /// This moment.
    pub fn moment(&self) -> Moment {
        Moment {
            wall: (self.time.wall)(),
            steady: (self.time.steady)(),
        }
    }

    /// Waits.
    pub async fn pause(&self, time: Duration) {
        (self.time.sleep)(time).await;
    }

    /// Does `work` while the lease holds and nobody says to stop; what is left of it then is dropped, between two writes.
    pub(super) async fn kept<T>(
        &self,
        lease: &Lease,
        work: impl Future<Output = Result<T, Trouble>>,
        told_to_stop: impl Future<Output = ()>,
    ) -> Result<T, Left> {
        let (mut work, mut lost, mut told) = (pin!(work), pin!(self.lost(lease)), pin!(told_to_stop));
        let mut left = None;
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(done.map_err(Left::Trouble));
            }
            if left.is_none()
                && let Poll::Ready(trouble) = lost.as_mut().poll(context)
            {
                left = Some(Left::Trouble(trouble));
            }
            if left.is_none()
                && let Poll::Ready(()) = told.as_mut().poll(context)
            {
                left = Some(Left::Told);
            }
            if self.writes().contains(&lease.job) {
                return Poll::Pending;
            }
            left.take().map_or(Poll::Pending, |left| Poll::Ready(Err(left)))
        })
        .await
    }

    /// A write that comes to its end even if the lease is lost meanwhile.
    pub(super) async fn whole<T>(&self, lease: &Lease, write: impl Future<Output = T>) -> T {
        let _under_way = UnderWay::begin(self, lease.job);
        write.await
    }

    /// Ends when the lease is gone, or the job has not moved for too long.
    async fn lost(&self, lease: &Lease) -> Trouble {
        let (catalogue, settings) = (&self.stores.catalogue, &self.settings);
        loop {
            (self.time.sleep)(HEARTBEAT).await;
            match catalogue.heartbeat(lease, settings.lease, self.moment()).await {
                Ok(idle) if idle >= settings.stall => return stalled(idle),
                Ok(_) => {}
                Err(error @ CatalogueError::Stale) => return error.into(),
                Err(error) => tracing::warn!(job = %lease.job, %error, "no sign of life could be given"),
            }
        }
    }

    fn writes(&self) -> MutexGuard<'_, HashSet<JobId>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stalled(idle: Duration) -> Trouble {
    let detail = format!("no progress for {} seconds", idle.as_secs());
    Trouble::new("stalled", detail, "it is tried again by itself", Retry::Spends)
}

/// Marks a write, also over the writes within it.
struct UnderWay<'a> {
    ingestor: &'a Ingestor,
    job: JobId,
    is_outer: bool,
}

impl<'a> UnderWay<'a> {
    fn begin(ingestor: &'a Ingestor, job: JobId) -> Self {
        let is_outer = ingestor.writes().insert(job);
        Self {
            ingestor,
            job,
            is_outer,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.is_outer {
            self.ingestor.writes().remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests;
