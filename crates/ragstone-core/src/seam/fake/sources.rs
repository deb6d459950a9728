//! Sources in a map.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use uuid::Uuid;

use super::lock;
use crate::id::{SourceId, TenantId};
use crate::seam::catalogue::{CatalogueError, CatalogueResult, ClockReading, ListPage, PageRequest};
use crate::seam::source::{ItemStates, SourcePatch, SourceRecord, SourceStore, SyncLease, SyncLeases, SyncReport};

/// Sources in memory, by tenant and name.
#[derive(Debug, Default)]
pub struct MemorySources(
    Mutex<BTreeMap<(TenantId, String), (SourceRecord, ItemStates)>>,
    SyncLeases,
);

impl MemorySources {
    fn with<T>(
        &self,
        tenant: &TenantId,
        id: SourceId,
        change: impl FnOnce(&mut SourceRecord, &mut ItemStates) -> T,
    ) -> Option<T> {
        let mut sources = lock(&self.0);
        let found = sources
            .values_mut()
            .find(|(source, _)| source.tenant == *tenant && source.id == id);
        found.map(|(source, memory)| change(source, memory))
    }
}

#[async_trait]
impl SourceStore for MemorySources {
    async fn add_source(&self, source: SourceRecord) -> CatalogueResult<bool> {
        let mut sources = lock(&self.0);
        let key = (source.tenant.clone(), source.name.as_str().to_owned());
        if sources.contains_key(&key) {
            return Ok(false);
        }
        sources.insert(key, (source, ItemStates::new()));
        Ok(true)
    }

    async fn get_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Option<SourceRecord>> {
        Ok(self.with(tenant, id, |source, _| source.clone()))
    }

    async fn list_sources(
        &self,
        tenant: Option<&TenantId>,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<SourceRecord>> {
        let after = match page.cursor.as_deref().map(|cursor| cursor.split_once(' ')) {
            Some(None) => return Err(CatalogueError::BadCursor),
            Some(Some(after)) => Some(after),
            None => None,
        };
        let sources = lock(&self.0);
        let mut items: Vec<SourceRecord> = sources
            .iter()
            .filter(|((of, _), _)| tenant.is_none_or(|tenant| of == tenant))
            .filter(|((of, name), _)| after.is_none_or(|after| (of.as_str(), name.as_str()) > after))
            .take(page.limit + 1)
            .map(|(_, (source, _))| source.clone())
            .collect();
        let more = items.len() > page.limit;
        items.truncate(page.limit);
        let last = items.last().filter(|_| more);
        let next_cursor = last.map(|source| format!("{} {}", source.tenant, source.name));
        Ok(ListPage { items, next_cursor })
    }

    async fn patch_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        patch: SourcePatch,
    ) -> CatalogueResult<Option<SourceRecord>> {
        Ok(self.with(tenant, id, |source, _| {
            patch.apply_to_record(source);
            source.clone()
        }))
    }

    async fn save_sync_report(&self, tenant: &TenantId, id: SourceId, report: SyncReport) -> CatalogueResult<bool> {
        let noted = self.with(tenant, id, |source, _| source.last_sync = Some(report));
        Ok(noted.is_some())
    }

    async fn load_item_states(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<ItemStates> {
        Ok(self.with(tenant, id, |_, memory| memory.clone()).unwrap_or_default())
    }

    async fn save_item_states(&self, tenant: &TenantId, id: SourceId, memory: ItemStates) -> CatalogueResult<bool> {
        Ok(self.with(tenant, id, |_, kept| *kept = memory).is_some())
    }

    async fn acquire_sync_lease(&self, id: SourceId, holder: SyncLease, now: ClockReading) -> CatalogueResult<bool> {
        Ok(self.1.acquire(id, holder, now.steady))
    }

    async fn release_sync_lease(&self, id: SourceId, process: Uuid) -> CatalogueResult<()> {
        self.1.release(id, process);
        Ok(())
    }

    async fn remove_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<bool> {
        let mut sources = lock(&self.0);
        let before = sources.len();
        sources.retain(|_, (source, _)| source.tenant != *tenant || source.id != id);
        Ok(sources.len() < before)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::contract::source_store_contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        source_store_contract(|| async { Arc::new(MemorySources::default()) as Arc<dyn SourceStore> }).await;
    }
}
