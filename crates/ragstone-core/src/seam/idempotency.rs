//! What requests with an idempotency key were answered, so that one that is sent again is not carried out again.
//!
//! Invariant: a key belongs to one caller; the first answer under a key stays until it is too old.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::CatalogueResult;
use crate::id::TenantId;

/// How long an answer is given again.
pub const RESPONSE_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Most answers that are kept for one caller; the oldest go first.
pub const MAX_RESPONSES_PER_CALLER: u64 = 4_096;

/// Names a request of a caller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// The caller's tenant.
    pub tenant: TenantId,
    /// The caller's name within it.
    pub subject: String,
    /// What the caller named it.
    pub key: String,
}

/// What a request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// Of all that the request asked for.
    pub fingerprint: [u8; 32],
    /// The HTTP status.
    pub status: u16,
    /// The body, JSON.
    pub body: String,
}

/// The answers by key.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// What was answered under `key` less than [`RESPONSE_LIFETIME`] before `now`.
    async fn find_response(&self, key: &RequestKey, now: OffsetDateTime) -> CatalogueResult<Option<StoredResponse>>;

    /// Keeps an answer, and forgets what is too old and what is too much. One that is kept already stays.
    async fn save_response(
        &self,
        key: &RequestKey,
        answered: StoredResponse,
        now: OffsetDateTime,
    ) -> CatalogueResult<()>;
}
