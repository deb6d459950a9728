//! Tokens that callers spent of the chat model, by day.
//!
//! Invariant: what was added survives a restart; a tenant's sum is the sum of its callers.

use async_trait::async_trait;
use time::Date;

use super::catalogue::CatalogueResult;
use crate::id::TenantId;

/// What was spent on a day, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DailyUsage {
    /// By the caller.
    pub caller: u64,
    /// By all callers of its tenant.
    pub tenant: u64,
}

/// What callers spent. Days are those of UTC.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// Adds `tokens` to what `subject` spent on `day`; days before the one before may be forgotten.
    async fn add_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date, tokens: u64) -> CatalogueResult<()>;

    /// What was spent on `day`.
    async fn get_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date) -> CatalogueResult<DailyUsage>;
}
