//! Sources in a map.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use uuid::Uuid;

use super::lock;
use crate::id::{SourceId, TenantId};
use crate::seam::catalogue::{CatalogueError, CatalogueResult, Moment, Page, PageRequest};
use crate::seam::source::{Memory, SourcePatch, SourceRecord, SourceStore, SyncReport, TurnHolder, Turns};

/// Sources in memory, by tenant and name.
#[derive(Debug, Default)]
pub struct MemorySources(Mutex<BTreeMap<(TenantId, String), (SourceRecord, Memory)>>, Turns);

impl MemorySources {
    fn with<T>(
        &self,
        tenant: &TenantId,
        id: SourceId,
        change: impl FnOnce(&mut SourceRecord, &mut Memory) -> T,
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
        sources.insert(key, (source, Memory::new()));
        Ok(true)
    }

    async fn source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Option<SourceRecord>> {
        Ok(self.with(tenant, id, |source, _| source.clone()))
    }

    async fn sources(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<Page<SourceRecord>> {
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
        Ok(Page { items, next_cursor })
    }

    async fn change_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        patch: SourcePatch,
    ) -> CatalogueResult<Option<SourceRecord>> {
        Ok(self.with(tenant, id, |source, _| {
            patch.apply(source);
            source.clone()
        }))
    }

    async fn note_sync(&self, tenant: &TenantId, id: SourceId, report: SyncReport) -> CatalogueResult<bool> {
        let noted = self.with(tenant, id, |source, _| source.last_sync = Some(report));
        Ok(noted.is_some())
    }

    async fn memory(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Memory> {
        Ok(self.with(tenant, id, |_, memory| memory.clone()).unwrap_or_default())
    }

    async fn remember(&self, tenant: &TenantId, id: SourceId, memory: Memory) -> CatalogueResult<bool> {
        Ok(self.with(tenant, id, |_, kept| *kept = memory).is_some())
    }

    async fn take_turn(&self, id: SourceId, holder: TurnHolder, now: Moment) -> CatalogueResult<bool> {
        Ok(self.1.take(id, holder, now.steady))
    }

    async fn end_turn(&self, id: SourceId, process: Uuid) -> CatalogueResult<()> {
        self.1.end(id, process);
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
