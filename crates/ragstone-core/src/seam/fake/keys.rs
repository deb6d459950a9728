//! Keys in a list.

use std::sync::Mutex;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::lock;
use crate::id::TenantId;
use crate::seam::catalogue::{CatalogueError, CatalogueResult, ListPage, PageRequest};
use crate::seam::keys::{KeyHash, KeyId, KeyRecord, KeyStore, Pepper, RotationOutcome, StoredKey};

/// API keys in memory, without persistence.
#[derive(Debug, Default)]
pub struct MemoryKeys {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pepper: Option<Pepper>,
    keys: Vec<StoredKey>,
}

impl State {
    fn seen(&mut self, tenant: Option<&TenantId>, id: KeyId) -> Option<&mut KeyRecord> {
        let mut keys = self.keys.iter_mut().map(|stored| &mut stored.key);
        keys.find(|key| key.id == id && is_of(key, tenant))
    }
}

fn is_of(key: &KeyRecord, tenant: Option<&TenantId>) -> bool {
    tenant.is_none_or(|tenant| key.tenant == *tenant)
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn get_or_create_pepper(&self, fresh: Pepper) -> CatalogueResult<Pepper> {
        Ok(lock(&self.state).pepper.get_or_insert(fresh).clone())
    }

    async fn has_keys(&self) -> CatalogueResult<bool> {
        Ok(!lock(&self.state).keys.is_empty())
    }

    async fn create_key(&self, key: StoredKey) -> CatalogueResult<bool> {
        let mut state = lock(&self.state);
        let taken = state.keys.iter().any(|stored| stored.key.id == key.key.id);
        if !taken {
            state.keys.push(key);
        }
        Ok(!taken)
    }

    async fn find_key(&self, id: KeyId) -> CatalogueResult<Option<StoredKey>> {
        let state = lock(&self.state);
        Ok(state.keys.iter().find(|stored| stored.key.id == id).cloned())
    }

    async fn list_keys(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<ListPage<KeyRecord>> {
        let place = |key: &KeyRecord| (key.created_at, key.id);
        let mut keys: Vec<KeyRecord> = lock(&self.state)
            .keys
            .iter()
            .map(|stored| stored.key.clone())
            .filter(|key| is_of(key, tenant))
            .collect();
        keys.sort_by_key(place);
        if let Some(cursor) = &page.cursor {
            let last: KeyId = cursor.parse().map_err(|_| CatalogueError::BadCursor)?;
            let last = keys.iter().position(|key| key.id == last);
            keys.drain(..=last.ok_or(CatalogueError::BadCursor)?);
        }
        let more = keys.len() > page.limit;
        keys.truncate(page.limit);
        Ok(ListPage {
            next_cursor: keys.last().map(|key| key.id.to_string()).filter(|_| more),
            items: keys,
        })
    }

    async fn rotate_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        (successor, hash): (KeyId, KeyHash),
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> CatalogueResult<RotationOutcome> {
        let mut state = lock(&self.state);
        let Some(old) = state.seen(tenant, id) else {
            return Ok(RotationOutcome::Unknown);
        };
        if !old.may_be_rotated(now) {
            return Ok(RotationOutcome::Ended);
        }
        let key = old.create_successor(successor, now, until);
        state.keys.push(StoredKey { key: key.clone(), hash });
        Ok(RotationOutcome::Done(key))
    }

    async fn revoke_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<KeyRecord>> {
        let mut state = lock(&self.state);
        Ok(state.seen(tenant, id).map(|key| {
            key.revoked_at.get_or_insert(now);
            key.clone()
        }))
    }

    async fn record_key_use(&self, id: KeyId, at: OffsetDateTime) -> CatalogueResult<()> {
        if let Some(key) = lock(&self.state).seen(None, id) {
            key.last_used_at = key.last_used_at.max(Some(at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::contract::key_store_contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        key_store_contract(|| async { Arc::new(MemoryKeys::default()) as Arc<dyn KeyStore> }).await;
    }
}
