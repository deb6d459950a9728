//! Responses to requests with an idempotency key, so that a repeated request is not executed again.
//!
//! Invariant: a key belongs to one caller; the first response under a key is kept until it expires.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::CatalogueResult;
use crate::id::TenantId;

/// How long a stored response is returned for repeated requests.
pub const RESPONSE_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Most responses stored for one caller; the oldest are deleted first.
pub const MAX_RESPONSES_PER_CALLER: u64 = 4_096;

/// Identifies a request of a caller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// Tenant of the caller.
    pub tenant: TenantId,
    /// Subject of the caller within the tenant.
    pub subject: String,
    /// Idempotency key chosen by the caller.
    pub key: String,
}

/// A response stored for repeated requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// Hash of the complete request, to detect that a key is reused for a different one.
    pub fingerprint: [u8; 32],
    /// HTTP status of the response.
    pub status: u16,
    /// JSON body of the response.
    pub body: String,
}

/// Stores responses by request key.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// The response stored under `key` less than [`RESPONSE_LIFETIME`] before `now`.
    async fn find_response(&self, key: &RequestKey, now: OffsetDateTime) -> CatalogueResult<Option<StoredResponse>>;

    /// Stores a response, and deletes expired and surplus ones. A response that is already stored is kept.
    async fn save_response(
        &self,
        key: &RequestKey,
        answered: StoredResponse,
        now: OffsetDateTime,
    ) -> CatalogueResult<()>;
}
