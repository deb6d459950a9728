//! The one clock, and the one source of fresh ids and secrets.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use ragstone_core::ingest::{Clock, NewId, Time};
use ragstone_core::seam::keys::Entropy;
use time::OffsetDateTime;
use uuid::Uuid;

/// Tells the time, in UTC.
pub fn clock() -> Clock {
    Arc::new(now)
}

/// The clock, the time since this call, and a way to wait.
pub fn time() -> Time {
    let start = Instant::now();
    Time {
        wall: clock(),
        steady: Arc::new(move || start.elapsed()),
        sleep: Arc::new(|time| tokio::time::sleep(time).boxed()),
    }
}

/// Gives random ids that sort by the time they were made.
pub fn new_id() -> NewId {
    Arc::new(Uuid::now_v7)
}

/// Gives random bytes of the system's, for secrets.
pub fn entropy() -> Entropy {
    Arc::new(|| {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("a running system has random bytes");
        bytes
    })
}

/// The time, in UTC.
#[expect(clippy::disallowed_methods, reason = "the one clock")]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
