//! Token buckets: a burst of requests, refilled evenly over a minute.
//!
//! Invariant: once there are many buckets, the full ones are evicted. That changes no result, because a new bucket is
//! full as well.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// Number of buckets from which full ones are evicted.
const SWEEP_THRESHOLD: usize = 65_536;
/// Shortest time between two evictions; in between, the number of buckets grows with the number of verified callers.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// Time since the start, by tokio's clock, which tests can advance.
#[derive(Debug, Clone)]
struct BucketClock(Instant);

impl Clock for BucketClock {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type TokenBuckets<K> = RateLimiter<K, HashMapStateStore<K>, BucketClock, StateInformationMiddleware>;

/// One token bucket per key.
pub(super) struct KeyedRateLimiter<K: Hash + Eq + Clone> {
    buckets: TokenBuckets<K>,
    limit: NonZeroU32,
    swept: Mutex<Instant>,
}

/// State of a bucket after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateStatus {
    /// Requests that a full bucket allows.
    pub limit: u32,
    /// Requests that it allows now.
    pub remaining: u32,
    /// Time until it is full.
    pub reset: Duration,
    /// Time until the refused request would be allowed; `None` if it was allowed.
    pub wait: Option<Duration>,
}

impl<K: Hash + Eq + Clone> KeyedRateLimiter<K> {
    /// Buckets that hold `per_minute` requests and refill at that rate; `None` for 0.
    pub fn new(per_minute: u32) -> Option<Self> {
        let limit = NonZeroU32::new(per_minute)?;
        let start = Instant::now();
        let quota = Quota::per_minute(limit);
        let buckets = TokenBuckets::new(quota, HashMapStateStore::default(), BucketClock(start));
        Some(Self {
            buckets,
            limit,
            swept: Mutex::new(start),
        })
    }

    /// Takes one request from the bucket of `key`, or returns the time to wait for one.
    pub fn take_request(&self, key: &K) -> RateStatus {
        self.evict_full_buckets();
        let (remaining, wait) = match self.buckets.check_key(key) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(until) => (0, Some(until.wait_time_from(self.buckets.clock().now()))),
        };
        let each = Duration::from_secs(60) / self.limit.get();
        let missing = each * (self.limit.get() - remaining);
        RateStatus {
            limit: self.limit.get(),
            remaining,
            reset: missing,
            wait,
        }
    }

    /// The number of buckets in memory.
    pub fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    fn evict_full_buckets(&self) {
        if self.buckets.len() < SWEEP_THRESHOLD {
            return;
        }
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.elapsed() >= SWEEP_PAUSE {
            *swept = Instant::now();
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_emptied_at_once_and_filled_evenly() {
        let rate = KeyedRateLimiter::new(6).unwrap();
        let check = |key: &str, remaining: u32, wait: Option<u64>| {
            let standing = rate.take_request(&key.to_owned());
            let waits = standing.wait.map(|wait| wait.as_secs_f64().ceil() as u64);
            assert_eq!(
                (standing.remaining, waits, standing.limit),
                (remaining, wait, 6),
                "{key}"
            );
        };
        for remaining in (0..6).rev() {
            check("a", remaining, None);
        }
        check("a", 0, Some(10));
        check("b", 5, None);
        tokio::time::advance(Duration::from_secs(4)).await;
        check("a", 0, Some(6));
        tokio::time::advance(Duration::from_secs(6)).await;
        check("a", 0, None);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        check("a", 5, None);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_buckets_are_forgotten() {
        let rate = KeyedRateLimiter::new(60).unwrap();
        for n in 0..SWEEP_THRESHOLD {
            rate.take_request(&n);
        }
        assert_eq!(rate.buckets.len(), SWEEP_THRESHOLD);
        tokio::time::advance(Duration::from_secs(120)).await;
        rate.take_request(&SWEEP_THRESHOLD);
        assert_eq!(rate.buckets.len(), 1);
    }

    #[test]
    fn nothing_set_is_no_limit() {
        assert!(KeyedRateLimiter::<u8>::new(0).is_none());
    }
}
