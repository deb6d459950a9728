//! Implements the index seam over the two sides, so that the rest of the process sees one index.

use async_trait::async_trait;
use ragstone_core::access::{Acl, Scope, ScopedQuery};
use ragstone_core::document::DocumentMetadata;
use ragstone_core::id::{DocumentId, Generation, PointId};
use ragstone_core::seam::PointReader;
use ragstone_core::seam::index::{
    DocumentGeneration, IndexError, IndexHits, IndexPoint, IndexQuery, IndexSpec, StoredChunk, VectorIndex,
};

use super::sides::{DualIndex, PinnedIndex};

#[async_trait]
impl VectorIndex for DualIndex {
    async fn prepare_index(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        self.current_pair().active.index.prepare_index(spec).await
    }

    async fn upsert_points(&self, points: Vec<IndexPoint>) -> Result<(), IndexError> {
        self.upsert_into(None, points).await
    }

    async fn publish_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.publish_in_both(document, generation).await
    }

    async fn delete_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        let delete =
            |index: std::sync::Arc<dyn VectorIndex>| async move { index.delete_generation(document, generation).await };
        self.apply_to_both(document, delete).await
    }

    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &DocumentMetadata,
    ) -> Result<(), IndexError> {
        let change = |index: std::sync::Arc<dyn VectorIndex>| async move {
            index.set_access(document, generation, acl, acl_revision, fields).await
        };
        self.apply_to_both(document, change).await
    }

    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<IndexHits, IndexError> {
        self.current_pair().active.index.search(query).await
    }

    async fn get_chunks(
        &self,
        scope: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        self.current_pair()
            .active
            .index
            .get_chunks(scope, points, with_tokens)
            .await
    }

    async fn list_chunks(
        &self,
        scope: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let index = self.current_pair().active.index.clone();
        index.list_chunks(scope, document, generation, from, limit).await
    }

    async fn count_points(&self) -> Result<u64, IndexError> {
        self.current_pair().active.index.count_points().await
    }

    async fn list_generations(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        self.generations_of_both(document).await
    }
}

#[async_trait]
impl PointReader for DualIndex {
    async fn read_points(
        &self,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<IndexPoint>, IndexError> {
        let points = self.current_pair().active.points.clone();
        points.read_points(document, generation, from, limit).await
    }
}

#[async_trait]
impl VectorIndex for PinnedIndex {
    async fn prepare_index(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        self.ensure_pinned(spec).await
    }

    async fn upsert_points(&self, points: Vec<IndexPoint>) -> Result<(), IndexError> {
        self.dual_index.upsert_into(Some(&self.side), points).await
    }

    async fn publish_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.dual_index.publish_generation(document, generation).await
    }

    async fn delete_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.dual_index.delete_generation(document, generation).await
    }

    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &DocumentMetadata,
    ) -> Result<(), IndexError> {
        self.dual_index
            .set_access(document, generation, acl, acl_revision, fields)
            .await
    }

    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<IndexHits, IndexError> {
        self.side.index.search(query).await
    }

    async fn get_chunks(
        &self,
        scope: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        self.side.index.get_chunks(scope, points, with_tokens).await
    }

    async fn list_chunks(
        &self,
        scope: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        self.side
            .index
            .list_chunks(scope, document, generation, from, limit)
            .await
    }

    async fn count_points(&self) -> Result<u64, IndexError> {
        self.side.index.count_points().await
    }

    async fn list_generations(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        self.side.index.list_generations(document).await
    }
}
