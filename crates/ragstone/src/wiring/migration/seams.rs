//! The two sides as the one index that everybody else knows.

use async_trait::async_trait;
use ragstone_core::access::{Acl, Scope, ScopedQuery};
use ragstone_core::document::Metadata;
use ragstone_core::id::{DocumentId, Generation, PointId};
use ragstone_core::seam::PointReader;
use ragstone_core::seam::index::{
    DocumentGeneration, Hits, IndexError, IndexQuery, IndexSpec, Point, StoredChunk, VectorIndex,
};

use super::sides::{OneSide, Sides};

#[async_trait]
impl VectorIndex for Sides {
    async fn ensure(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        self.pair().active.index.ensure(spec).await
    }

    async fn upsert(&self, points: Vec<Point>) -> Result<(), IndexError> {
        self.upsert_into(None, points).await
    }

    async fn publish(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.publish_in_both(document, generation).await
    }

    async fn delete(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        let delete = |index: std::sync::Arc<dyn VectorIndex>| async move { index.delete(document, generation).await };
        self.in_both(document, delete).await
    }

    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &Metadata,
    ) -> Result<(), IndexError> {
        let change = |index: std::sync::Arc<dyn VectorIndex>| async move {
            index.set_access(document, generation, acl, acl_revision, fields).await
        };
        self.in_both(document, change).await
    }

    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<Hits, IndexError> {
        self.pair().active.index.search(query).await
    }

    async fn chunks(
        &self,
        scope: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        self.pair().active.index.chunks(scope, points, with_tokens).await
    }

    async fn scroll(
        &self,
        scope: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let index = self.pair().active.index.clone();
        index.scroll(scope, document, generation, from, limit).await
    }

    async fn count(&self) -> Result<u64, IndexError> {
        self.pair().active.index.count().await
    }

    async fn generations(&self, document: Option<DocumentId>) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        self.generations_of_both(document).await
    }
}

#[async_trait]
impl PointReader for Sides {
    async fn points(
        &self,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<Point>, IndexError> {
        let points = self.pair().active.points.clone();
        points.points(document, generation, from, limit).await
    }
}

#[async_trait]
impl VectorIndex for OneSide {
    async fn ensure(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        self.holds(spec).await
    }

    async fn upsert(&self, points: Vec<Point>) -> Result<(), IndexError> {
        self.sides.upsert_into(Some(&self.side), points).await
    }

    async fn publish(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.sides.publish(document, generation).await
    }

    async fn delete(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.sides.delete(document, generation).await
    }

    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &Metadata,
    ) -> Result<(), IndexError> {
        self.sides
            .set_access(document, generation, acl, acl_revision, fields)
            .await
    }

    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<Hits, IndexError> {
        self.side.index.search(query).await
    }

    async fn chunks(
        &self,
        scope: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        self.side.index.chunks(scope, points, with_tokens).await
    }

    async fn scroll(
        &self,
        scope: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        self.side.index.scroll(scope, document, generation, from, limit).await
    }

    async fn count(&self) -> Result<u64, IndexError> {
        self.side.index.count().await
    }

    async fn generations(&self, document: Option<DocumentId>) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        self.side.index.generations(document).await
    }
}
