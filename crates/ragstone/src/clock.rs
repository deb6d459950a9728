//! The only clock of the process, and the only source of fresh ids and secrets.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use ragstone_core::ingest::{IdGenerator, TimeProvider, WallClockFn};
use ragstone_core::seam::keys::EntropySource;
use time::OffsetDateTime;
use uuid::Uuid;

/// Returns the system's wall clock, in UTC.
pub fn utc_clock() -> WallClockFn {
    Arc::new(utc_now)
}

/// Wall clock, steady time since this call, and sleeping.
pub fn system_time() -> TimeProvider {
    let start = Instant::now();
    TimeProvider {
        wall: utc_clock(),
        steady: Arc::new(move || start.elapsed()),
        sleep: Arc::new(|time| tokio::time::sleep(time).boxed()),
    }
}

/// Generates random ids that sort by creation time (UUID version 7).
pub fn new_id() -> IdGenerator {
    Arc::new(Uuid::now_v7)
}

/// Generates 32 random bytes from the operating system, for secrets.
pub fn system_entropy() -> EntropySource {
    Arc::new(|| {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("a running system has random bytes");
        bytes
    })
}

/// The current time, in UTC.
#[expect(clippy::disallowed_methods, reason = "the one clock")]
pub fn utc_now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
