//! Points read back as they were stored, for who moves the library.

use async_trait::async_trait;
use qdrant_client::qdrant::{Condition, OrderBy, Range, RetrievedPoint, ScrollPoints};
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::index::{IndexError, Point};
use ragstone_core::seam::portable::PointReader;

use super::payload::{
    self, ACL, ACL_REVISION, DENSE, FIELDS, GATE, LEXICAL, ORDINAL, PAIRS, Reading, STORED, STORED_MORE,
};
use super::query::include;
use super::stored::{StoredVectors, with};
use super::{QdrantIndex, scope};

/// What is read besides [`STORED`].
const WHOLE: [&str; 4] = [ACL_REVISION, FIELDS, GATE, PAIRS];

#[async_trait]
impl PointReader for QdrantIndex {
    async fn points(
        &self,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<Point>, IndexError> {
        let Some(spec) = self.spec().await?.filter(|_| limit > 0) else {
            return Ok(Vec::new());
        };
        let names: &[&str] = match spec.dimensions {
            Some(_) => &[DENSE, LEXICAL],
            None => &[LEXICAL],
        };
        let mut filter = scope::of_generation(document, generation);
        let from = Range {
            gte: Some(f64::from(from)),
            ..Range::default()
        };
        filter.must.push(Condition::range(ORDINAL, from));
        let fields = STORED.into_iter().chain(STORED_MORE).chain(WHOLE);
        let request = ScrollPoints {
            collection_name: self.server.collection(),
            filter: Some(filter),
            limit: Some(u32::try_from(limit).unwrap_or(u32::MAX)),
            with_payload: Some(include(fields.collect())),
            with_vectors: Some(with(names)),
            order_by: Some(OrderBy {
                key: ORDINAL.to_owned(),
                ..OrderBy::default()
            }),
            ..ScrollPoints::default()
        };
        let answer = self.server.read("reading whole points", |client| {
            let request = request.clone();
            async move { client.scroll(request).await }
        });
        answer.await?.result.into_iter().map(point).collect()
    }
}

fn point(mut found: RetrievedPoint) -> Result<Point, IndexError> {
    let id = payload::point_id(found.id.as_ref())?;
    let vectors = StoredVectors::take(&mut found);
    let reading = Reading::of(id, &found.payload);
    let stored = reading.stored(true)?;
    Ok(Point {
        id,
        chunk: stored.chunk,
        collection: stored.collection,
        generation: stored.generation,
        acl: reading.acl(ACL)?,
        acl_revision: reading.integer(ACL_REVISION)?,
        fields: reading.fields()?,
        dense: vectors.dense,
        lexical: reading.lexical(vectors.lexical)?,
        gate: reading.number(GATE)? as f32,
        tokens: stored.tokens,
    })
}
