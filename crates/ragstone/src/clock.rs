//! The one clock and the one source of fresh ids.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use ragstone_core::ingest::{Clock, NewId, Time};
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

/// The time, in UTC.
#[expect(clippy::disallowed_methods, reason = "the one clock")]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
