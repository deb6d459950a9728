//! The notifier: wakes idle workers in this process and in others.
//!
//! Invariant: a notification carries no work. The job ledger alone decides what is to be done; a lost notification
//! costs a polling delay, a superfluous one costs a query.

use async_trait::async_trait;

/// Wakes workers. An implementation that reaches other processes does so in the background and retries there: callers
/// of `notify_workers` and `wait_for_notification` never see connection errors.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Announces that there may be work: wakes one waiter in this process and one in each other listening process.
    /// Returns at once and cannot fail.
    fn notify_workers(&self);

    /// Waits for a notification; one that arrived while nobody waited still counts. Also returns when this process
    /// starts or resumes listening, because earlier notifications were missed. A notification wakes one of several
    /// waiters.
    async fn wait_for_notification(&self);

    /// Why other processes cannot be reached at the moment; `None` if they can, or if there are none to reach.
    fn connection_error(&self) -> Option<String>;
}
