//! The one clock, and the one source of fresh ids and secrets.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use ragstone_core::ingest::{IdGenerator, TimeProvider, WallClockFn};
use ragstone_core::seam::keys::EntropySource;
use time::OffsetDateTime;
use uuid::Uuid;

/// Tells the time, in UTC.
pub fn utc_clock() -> WallClockFn {
    Arc::new(utc_now)
}

/// The clock, the time since this call, and a way to wait.
pub fn system_time() -> TimeProvider {
    let start = Instant::now();
    TimeProvider {
        wall: utc_clock(),
        steady: Arc::new(move || start.elapsed()),
        sleep: Arc::new(|time| tokio::time::sleep(time).boxed()),
    }
}

/// Gives random ids that sort by the time they were made.
pub fn new_id() -> IdGenerator {
    Arc::new(Uuid::now_v7)
}

/// Gives random bytes of the system's, for secrets.
pub fn system_entropy() -> EntropySource {
    Arc::new(|| {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("a running system has random bytes");
        bytes
    })
}

/// The time, in UTC.
#[expect(clippy::disallowed_methods, reason = "the one clock")]
pub fn utc_now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
