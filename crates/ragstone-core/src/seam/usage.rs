//! Chat-model tokens spent per caller and day, for daily limits.
//!
//! Invariant: recorded usage survives a restart; a tenant's total is the sum over its callers.

use async_trait::async_trait;
use time::Date;

use super::catalogue::CatalogueResult;
use crate::id::TenantId;

/// Tokens spent on one day (UTC).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DailyUsage {
    /// Tokens spent by the caller itself.
    pub caller: u64,
    /// Tokens spent by all callers of the caller's tenant.
    pub tenant: u64,
}

/// Stores daily token usage. A day is a UTC calendar day.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// Adds `tokens` to the usage of `subject` on `day`. Usage from before the previous day may be deleted.
    async fn add_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date, tokens: u64) -> CatalogueResult<()>;

    /// Usage on `day`: of `subject` and of its whole tenant.
    async fn get_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date) -> CatalogueResult<DailyUsage>;
}
