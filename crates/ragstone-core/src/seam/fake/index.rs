//! An index that scans every point.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::access::{Acl, Scope, ScopedQuery};
use crate::document::DocumentMetadata;
use crate::id::{DocumentId, Generation, PointId};
use crate::seam::contract::expected;
use crate::seam::index::{
    DocumentGeneration, IndexError, IndexHits, IndexPoint, IndexQuery, IndexSpec, StoredChunk, VectorIndex,
};

/// Points in a list.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spec: Option<IndexSpec>,
    points: Vec<(IndexPoint, Visible)>,
}

type Visible = bool;

impl State {
    fn of(&mut self, document: DocumentId, generation: Generation) -> impl Iterator<Item = &mut (IndexPoint, Visible)> {
        self.points
            .iter_mut()
            .filter(move |(point, _)| is_of(point, document, generation))
    }

    fn visible(&self) -> impl Iterator<Item = &IndexPoint> {
        self.points
            .iter()
            .filter(|(_, visible)| *visible)
            .map(|(point, _)| point)
    }

    fn check(&self, vector: Option<&Vec<f32>>) -> Result<(), IndexError> {
        let held = self.spec.as_ref().and_then(|spec| spec.dimensions);
        match vector {
            Some(vector) if held != Some(vector.len()) => Err(mismatch(format!("{held:?} components"))),
            _ => Ok(()),
        }
    }
}

fn is_of(point: &IndexPoint, document: DocumentId, generation: Generation) -> bool {
    point.chunk.document_id == document && point.generation == generation
}

fn mismatch(detail: String) -> IndexError {
    IndexError::Mismatch { detail }
}

fn read(point: &IndexPoint, with_tokens: bool) -> StoredChunk {
    StoredChunk {
        point: point.id,
        generation: point.generation,
        chunk: point.chunk.clone(),
        collection: point.collection.clone(),
        tokens: point.tokens.clone().filter(|_| with_tokens),
    }
}

#[async_trait]
impl VectorIndex for MemoryIndex {
    async fn prepare_index(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        let mut state = lock(&self.state);
        if let Some(held) = state.spec.clone().filter(|_| !state.points.is_empty()) {
            let vectors = held.embedder.is_some() && spec.embedder.is_some();
            if held.lexical != spec.lexical || (vectors && held != *spec) {
                return Err(mismatch(format!("it holds points of {held:?}")));
            }
            if spec.embedder.is_none() {
                return Ok(());
            }
        }
        state.spec = Some(spec.clone());
        Ok(())
    }

    async fn upsert_points(&self, points: Vec<IndexPoint>) -> Result<(), IndexError> {
        let mut state = lock(&self.state);
        if state.spec.is_none() {
            return Err(mismatch("no spec was given yet".into()));
        }
        for point in &points {
            state.check(point.dense.as_ref())?;
        }
        for point in points {
            if !state.points.iter().any(|(held, _)| held.id == point.id) {
                state.points.push((point, false));
            }
        }
        Ok(())
    }

    async fn publish_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        lock(&self.state)
            .of(document, generation)
            .for_each(|(_, visible)| *visible = true);
        Ok(())
    }

    async fn delete_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        let mut state = lock(&self.state);
        state.points.retain(|(point, _)| !is_of(point, document, generation));
        Ok(())
    }

    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &DocumentMetadata,
    ) -> Result<(), IndexError> {
        lock(&self.state).of(document, generation).for_each(|(point, _)| {
            point.acl = acl.clone();
            point.acl_revision = acl_revision;
            point.fields = fields.clone();
        });
        Ok(())
    }

    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<IndexHits, IndexError> {
        let state = lock(&self.state);
        if state.spec.as_ref().is_some_and(|spec| spec.dimensions.is_some()) {
            state.check(query.query().dense.as_ref())?;
        }
        Ok(expected(state.visible(), query))
    }

    async fn get_chunks(
        &self,
        scope: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let state = lock(&self.state);
        let asked = state
            .visible()
            .filter(|point| points.contains(&point.id) && scope.admits(&point.acl));
        Ok(asked.map(|point| read(point, with_tokens)).collect())
    }

    async fn list_chunks(
        &self,
        scope: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let state = lock(&self.state);
        let asked = state.visible().filter(|point| {
            is_of(point, document, generation) && point.chunk.ordinal >= from && scope.admits(&point.acl)
        });
        let mut page: Vec<_> = asked.map(|point| read(point, false)).collect();
        page.sort_by_key(|chunk| chunk.chunk.ordinal);
        page.truncate(limit);
        Ok(page)
    }

    async fn count_points(&self) -> Result<u64, IndexError> {
        Ok(lock(&self.state).points.len() as u64)
    }

    async fn list_generations(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        let mut counts = BTreeMap::new();
        let asked = |point: &IndexPoint| document.is_none_or(|document| document == point.chunk.document_id);
        for (point, _) in lock(&self.state).points.iter().filter(|(point, _)| asked(point)) {
            *counts.entry((point.chunk.document_id, point.generation)).or_default() += 1;
        }
        Ok(counts.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::contract::{growing_index_contract, index_contract};

    #[tokio::test]
    async fn keeps_the_contract() {
        let make = || async { Arc::new(MemoryIndex::default()) as Arc<dyn VectorIndex> };
        index_contract(make).await;
        growing_index_contract(make).await;
    }
}
