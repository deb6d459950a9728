//! Stored chunks as another embedder sees them: what a change of the embedding model is made of.
//!
//! Invariant: nothing but vectors, tokens and gate differs from what was stored; chunk, ids, readers and words stay.

use super::batch::{reading_gate, title_prefix};
use super::documents::DocumentPipeline;
use crate::seam::index::IndexPoint;
use crate::seam::{Embedder, IndexError};

impl DocumentPipeline {
    /// The points of one document with the vectors of `embedder`. What keeps it from that may pass: `Unavailable`.
    pub async fn reembed_points(
        &self,
        embedder: &dyn Embedder,
        points: Vec<IndexPoint>,
    ) -> Result<Vec<IndexPoint>, IndexError> {
        let Some(first) = points.first() else {
            return Ok(points);
        };
        let (tenant, document) = (first.acl.tenant.clone(), first.chunk.document_id);
        let rows = self
            .context
            .stores
            .catalogue
            .get_document_refs(&[document])
            .await
            .map_err(unavailable_index)?;
        let title = rows.first().and_then(|row| row.given_title.as_deref());
        let texts: Vec<&str> = points.iter().map(|point| point.chunk.text.as_str()).collect();
        let made = self
            .embeddings
            .embed_with_cache(embedder, (&tenant, document), &title_prefix(title), &texts)
            .await
            .map_err(|trouble| unavailable_index(trouble.error.detail))?;
        // Its purge may have come before what was just remembered.
        self.embeddings.forget_if_deleted(document).await;
        let seen = points.into_iter().zip(made).map(|(point, made)| {
            let (dense, tokens) = match made.into_stored() {
                Some(stored) => (Some(stored.vector), stored.tokens),
                None => (None, None),
            };
            IndexPoint {
                gate: reading_gate(Some(embedder), &point.chunk.text),
                dense,
                tokens,
                ..point
            }
        });
        Ok(seen.collect())
    }
}

fn unavailable_index(error: impl ToString) -> IndexError {
    IndexError::Unavailable {
        detail: error.to_string(),
    }
}
