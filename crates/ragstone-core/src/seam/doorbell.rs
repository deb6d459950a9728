//! The doorbell: wakes workers that wait, in this process and in others.
//!
//! Invariant: it carries no work. The ledger alone says what is to be done; a ring that is lost costs a wait, and one too
//! many a look.

use async_trait::async_trait;

/// Wakes workers. Where it has to reach other processes it does so in the background, for as long as it takes: whoever
/// rings or waits never meets its troubles.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Says that there may be work: somebody who waits here is woken, and one of each other process that listens.
    /// Neither waits nor fails.
    fn notify_workers(&self);

    /// Waits for a ring; one that came while nobody waited counts. Ends as well when this process begins to listen, be it
    /// again, as what was rung before went unheard. Of several who wait a ring wakes one.
    async fn wait_for_notification(&self);

    /// Why other processes are not reached at the moment; none if they are, or there are none to reach.
    fn connection_error(&self) -> Option<String>;
}
