//! Idempotent responses in a map.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::lock;
use crate::seam::catalogue::CatalogueResult;
use crate::seam::idempotency::{
    IdempotencyStore, MAX_RESPONSES_PER_CALLER, RESPONSE_LIFETIME, RequestKey, StoredResponse,
};

/// Stored responses in memory.
#[derive(Debug, Default)]
pub struct MemoryIdempotency(Mutex<BTreeMap<RequestKey, (OffsetDateTime, StoredResponse)>>);

#[async_trait]
impl IdempotencyStore for MemoryIdempotency {
    async fn find_response(&self, key: &RequestKey, now: OffsetDateTime) -> CatalogueResult<Option<StoredResponse>> {
        let kept = lock(&self.0);
        let found = kept.get(key).filter(|(at, _)| *at + RESPONSE_LIFETIME > now);
        Ok(found.map(|(_, answered)| answered.clone()))
    }

    async fn save_response(
        &self,
        key: &RequestKey,
        answered: StoredResponse,
        now: OffsetDateTime,
    ) -> CatalogueResult<()> {
        let mut kept = lock(&self.0);
        kept.retain(|_, (at, _)| *at + RESPONSE_LIFETIME > now);
        kept.entry(key.clone()).or_insert((now, answered));
        let own = |other: &RequestKey| (&other.tenant, &other.subject) == (&key.tenant, &key.subject);
        let of_caller = || kept.iter().filter(|(other, _)| own(other));
        if of_caller().count() as u64 > MAX_RESPONSES_PER_CALLER {
            let oldest = of_caller().min_by_key(|(_, (at, _))| *at);
            let oldest = oldest.map(|(other, _)| other.clone()).expect("there are some");
            kept.remove(&oldest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::contract::idempotency_contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        let make = || async { Arc::new(MemoryIdempotency::default()) as Arc<dyn IdempotencyStore> };
        idempotency_contract(make).await;
    }
}
