//! An index that leaks on purpose: it answers every caller as if an administrator of each tenant had asked.

use std::sync::Arc;

use async_trait::async_trait;
use ragstone_core::access::{Acl, Principal, Scope, ScopedQuery};
use ragstone_core::document::DocumentMetadata;
use ragstone_core::id::{DocumentId, Generation, PointId};
use ragstone_core::seam::index::{
    DocumentGeneration, IndexError, IndexHits, IndexPoint, IndexQuery, IndexSpec, StoredChunk, VectorIndex,
};

use super::world::TENANTS;

struct Leaky {
    inner: Arc<dyn VectorIndex>,
    all: Vec<Scope>,
}

/// Wraps `inner` so that it ignores the caller's scope.
pub fn leaky(inner: Arc<dyn VectorIndex>) -> Arc<dyn VectorIndex> {
    let all = |tenant: &&str| Principal::local_operator_of(tenant.parse().unwrap()).scope();
    Arc::new(Leaky {
        inner,
        all: TENANTS.iter().map(all).collect(),
    })
}

#[async_trait]
impl VectorIndex for Leaky {
    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<IndexHits, IndexError> {
        let mut found = self.inner.search(query).await?;
        found.hits.clear();
        for scope in &self.all {
            let (collection, filter) = (query.collection().cloned(), query.filter().cloned());
            let wide = ScopedQuery::for_contract(scope, collection, filter, query.query().clone());
            found.hits.extend(self.inner.search(&wide).await?.hits);
        }
        Ok(found)
    }

    async fn get_chunks(
        &self,
        _: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let mut found = Vec::new();
        for scope in &self.all {
            found.extend(self.inner.get_chunks(scope, points, with_tokens).await?);
        }
        Ok(found)
    }

    /// Returns chunks of other documents too.
    async fn list_chunks(
        &self,
        _: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let mut all = vec![(document, generation)];
        let others = self.inner.list_generations(None).await?;
        all.extend(others.into_iter().map(|(other, _)| other));
        let mut found = Vec::new();
        for (document, generation) in all {
            for scope in &self.all {
                found.extend(self.inner.list_chunks(scope, document, generation, from, limit).await?);
            }
        }
        Ok(found)
    }

    async fn prepare_index(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        self.inner.prepare_index(spec).await
    }

    async fn upsert_points(&self, points: Vec<IndexPoint>) -> Result<(), IndexError> {
        self.inner.upsert_points(points).await
    }

    async fn publish_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.inner.publish_generation(document, generation).await
    }

    async fn delete_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.inner.delete_generation(document, generation).await
    }

    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &DocumentMetadata,
    ) -> Result<(), IndexError> {
        let inner = &self.inner;
        inner.set_access(document, generation, acl, acl_revision, fields).await
    }

    async fn count_points(&self) -> Result<u64, IndexError> {
        self.inner.count_points().await
    }

    async fn list_generations(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        self.inner.list_generations(document).await
    }
}
