//! Usage in a map.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use time::Date;

use super::lock;
use crate::id::TenantId;
use crate::seam::catalogue::CatalogueResult;
use crate::seam::usage::{DailyUsage, UsageStore};

/// Usage in memory; nothing is forgotten.
#[derive(Debug, Default)]
pub struct MemoryUsage(Mutex<BTreeMap<(TenantId, Date, String), u64>>);

#[async_trait]
impl UsageStore for MemoryUsage {
    async fn add_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date, tokens: u64) -> CatalogueResult<()> {
        let key = (tenant.clone(), day, subject.to_owned());
        *lock(&self.0).entry(key).or_default() += tokens;
        Ok(())
    }

    async fn get_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date) -> CatalogueResult<DailyUsage> {
        let mut spent = DailyUsage::default();
        for ((_, _, who), tokens) in lock(&self.0)
            .iter()
            .filter(|((of, on, _), _)| of == tenant && *on == day)
        {
            spent.tenant += tokens;
            if who == subject {
                spent.caller += tokens;
            }
        }
        Ok(spent)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::contract::usage_contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        usage_contract(|| async { Arc::new(MemoryUsage::default()) as Arc<dyn UsageStore> }).await;
    }
}
