//! Limits how many jobs run at once, by their size.
//!
//! A small document waits most of its time for a commit or for the embedder, and both serve many at once: so several
//! small jobs share the slot of a large one. The size of a job is known only when it is claimed, so a claim is made
//! with room for a job like the last one. A large job that does not fit is handed back; the next claim waits for room.
//!
//! Invariant: running jobs never take more than all slots, in whatever order small and large jobs come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ragstone_core::document::JobKind;
use ragstone_core::seam::catalogue::ClaimedJob;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Number of small documents that share a slot.
pub(super) const SMALL_PER_PLACE: usize = 8;
/// Most bytes of a small document.
const SMALL_BYTES: u64 = 64 * 1024;

/// The slots of a process.
#[derive(Debug)]
pub(super) struct JobSlots {
    /// Permits: a small job takes one, any other [`SMALL_PER_PLACE`].
    shares: Arc<Semaphore>,
    all: usize,
    expects_small: AtomicBool,
    /// Whether a job was claimed since all slots were last found free.
    was_busy: AtomicBool,
}

/// The slot of one job.
#[derive(Debug)]
pub(super) struct JobSlot(OwnedSemaphorePermit);

impl JobSlots {
    /// Creates `places` slots, at least one.
    pub(super) fn new(places: usize) -> Self {
        let all = places.max(1) * SMALL_PER_PLACE;
        Self {
            shares: Arc::new(Semaphore::new(all)),
            all,
            expects_small: AtomicBool::new(false),
            was_busy: AtomicBool::new(false),
        }
    }

    /// Waits for a slot for a job like the last one; waiters are served in order.
    pub(super) async fn acquire(&self) -> JobSlot {
        let shares = match self.expects_small.load(Ordering::Relaxed) {
            true => 1,
            false => SMALL_PER_PLACE,
        };
        let shares = self.shares.clone().acquire_many_owned(shares as u32).await;
        JobSlot(shares.expect("the places are never closed"))
    }

    /// Resizes the slot to the claimed job; `None` if there is no room for a job of its size.
    pub(super) fn resize_slot(&self, mut place: JobSlot, claim: &ClaimedJob) -> Option<JobSlot> {
        self.was_busy.store(true, Ordering::Relaxed);
        let is_small = is_small_job(claim);
        self.expects_small.store(is_small, Ordering::Relaxed);
        let (held, needed) = (place.0.num_permits(), if is_small { 1 } else { SMALL_PER_PLACE });
        if held > needed {
            drop(place.0.split(held - needed));
        } else if held < needed {
            let rest = self.shares.clone().try_acquire_many_owned((needed - held) as u32);
            place.0.merge(rest.ok()?);
        }
        Some(place)
    }

    /// Whether all slots are free after a job was claimed; returns true once.
    pub(super) fn take_became_idle(&self) -> bool {
        self.shares.available_permits() == self.all && self.was_busy.swap(false, Ordering::Relaxed)
    }
}

fn is_small_job(claim: &ClaimedJob) -> bool {
    claim.job.kind == JobKind::Ingest && claim.document.bytes <= SMALL_BYTES
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use ragstone_core::seam::catalogue::BeginOutcome;
    use ragstone_core::seam::fake::{House, WORKER, writer};

    use super::*;

    /// A claimed job whose document has so many bytes.
    async fn claim(bytes: u64) -> ClaimedJob {
        let (house, caller) = (House::new(), writer("a", &[]));
        let begun = house.accept(&caller, "x.txt", &["everyone"], "a text").await;
        assert!(matches!(begun, BeginOutcome::Started(..)), "{begun:?}");
        let mut claim = house.ingestor.runner().claim_job(WORKER).await.unwrap().unwrap();
        claim.document.bytes = bytes;
        claim
    }

    #[tokio::test]
    async fn small_jobs_share_what_a_large_one_takes() {
        let (small, large) = (claim(SMALL_BYTES).await, claim(SMALL_BYTES + 1).await);
        let places = JobSlots::new(2);
        let next = || places.acquire().now_or_never();
        let first = places.resize_slot(next().unwrap(), &large).unwrap();
        let mut at_work = vec![places.resize_slot(next().unwrap(), &small).unwrap()];
        for _ in 1..SMALL_PER_PLACE {
            at_work.push(places.resize_slot(next().unwrap(), &small).unwrap());
        }
        assert!(next().is_none(), "all places are taken");
        drop(first);
        assert!(
            places.resize_slot(next().unwrap(), &large).is_some(),
            "there is room for a large one"
        );
        at_work.push(places.resize_slot(next().unwrap(), &small).unwrap());
        let without_room = next().unwrap_or_else(|| panic!("a small one fits"));
        assert!(
            places.resize_slot(without_room, &large).is_none(),
            "a large one does not"
        );
        assert!(next().is_none(), "and is waited for");
        at_work.clear();
        assert!(places.resize_slot(next().unwrap(), &large).is_some());
        assert!(places.take_became_idle());
        assert!(!places.take_became_idle(), "it is said once");
    }
}
