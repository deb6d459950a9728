//! An embedding cache in maps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::lock;
use crate::id::DocumentId;
use crate::seam::embedding_cache::{EmbeddingCache, EmbeddingCacheError, EmbeddingKey, StoredEmbedding};

/// Embeddings in memory, without a bound.
#[derive(Debug, Default)]
pub struct MemoryEmbeddingCache {
    state: Mutex<State>,
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Name, StoredEmbedding>,
    uses: BTreeMap<DocumentId, BTreeSet<Name>>,
}

type Name = (String, EmbeddingKey);

impl MemoryEmbeddingCache {
    /// Fails every call from here on, or none.
    pub fn break_down(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    /// How many embeddings it holds.
    pub fn len(&self) -> usize {
        lock(&self.state).entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn state(&self) -> Result<std::sync::MutexGuard<'_, State>, EmbeddingCacheError> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err(EmbeddingCacheError {
                detail: "broken on purpose".into(),
            }),
            false => Ok(lock(&self.state)),
        }
    }
}

#[async_trait]
impl EmbeddingCache for MemoryEmbeddingCache {
    async fn get_embeddings(
        &self,
        fingerprint: &str,
        document: DocumentId,
        keys: &[EmbeddingKey],
    ) -> Result<Vec<Option<StoredEmbedding>>, EmbeddingCacheError> {
        let mut state = self.state()?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let name = (fingerprint.to_owned(), *key);
            let stored = state.entries.get(&name).cloned();
            if stored.is_some() {
                state.uses.entry(document).or_default().insert(name);
            }
            found.push(stored);
        }
        Ok(found)
    }

    async fn put_embeddings(
        &self,
        fingerprint: &str,
        document: DocumentId,
        entries: Vec<(EmbeddingKey, StoredEmbedding)>,
    ) -> Result<(), EmbeddingCacheError> {
        let mut state = self.state()?;
        for (key, stored) in entries {
            let name = (fingerprint.to_owned(), key);
            state.entries.entry(name.clone()).or_insert(stored);
            state.uses.entry(document).or_default().insert(name);
        }
        Ok(())
    }

    async fn remove_document(&self, document: DocumentId) -> Result<(), EmbeddingCacheError> {
        let mut state = self.state()?;
        let gone = state.uses.remove(&document).unwrap_or_default();
        state.entries.retain(|name, _| !gone.contains(name));
        for names in state.uses.values_mut() {
            names.retain(|name| !gone.contains(name));
        }
        state.uses.retain(|_, names| !names.is_empty());
        Ok(())
    }

    async fn list_documents(&self) -> Result<Vec<DocumentId>, EmbeddingCacheError> {
        Ok(self.state()?.uses.keys().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::contract::embedding_cache_contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        embedding_cache_contract(|| async { Arc::new(MemoryEmbeddingCache::default()) as Arc<dyn EmbeddingCache> })
            .await;
    }
}
