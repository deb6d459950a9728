//! Reads points back as they were stored, for the export of a library.

use async_trait::async_trait;
use qdrant_client::qdrant::{Condition, OrderBy, Range, RetrievedPoint, ScrollPoints};
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::index::{IndexError, IndexPoint};
use ragstone_core::seam::portable::PointReader;

use super::payload::{
    self, ACL, ACL_REVISION, DENSE, FIELDS, GATE, LEXICAL, ORDINAL, PAIRS, PayloadReader, STORED, STORED_MORE,
};
use super::query::include_fields;
use super::stored::{StoredVectors, include_vectors};
use super::{QdrantIndex, scope};

/// Payload fields that are read besides [`STORED`].
const WHOLE: [&str; 4] = [ACL_REVISION, FIELDS, GATE, PAIRS];

#[async_trait]
impl PointReader for QdrantIndex {
    async fn read_points(
        &self,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<IndexPoint>, IndexError> {
        let Some(spec) = self.collection_spec().await?.filter(|_| limit > 0) else {
            return Ok(Vec::new());
        };
        let names: &[&str] = match spec.dimensions {
            Some(_) => &[DENSE, LEXICAL],
            None => &[LEXICAL],
        };
        let mut filter = scope::generation_filter(document, generation);
        let from = Range {
            gte: Some(f64::from(from)),
            ..Range::default()
        };
        filter.must.push(Condition::range(ORDINAL, from));
        let fields = STORED.into_iter().chain(STORED_MORE).chain(WHOLE);
        let request = ScrollPoints {
            collection_name: self.server.collection_name(),
            filter: Some(filter),
            limit: Some(u32::try_from(limit).unwrap_or(u32::MAX)),
            with_payload: Some(include_fields(fields.collect())),
            with_vectors: Some(include_vectors(names)),
            order_by: Some(OrderBy {
                key: ORDINAL.to_owned(),
                ..OrderBy::default()
            }),
            ..ScrollPoints::default()
        };
        let answer = self.server.send_read("reading whole points", |client| {
            let request = request.clone();
            async move { client.scroll(request).await }
        });
        answer.await?.result.into_iter().map(read_point).collect()
    }
}

fn read_point(mut found: RetrievedPoint) -> Result<IndexPoint, IndexError> {
    let id = payload::parse_point_id(found.id.as_ref())?;
    let vectors = StoredVectors::take_from(&mut found);
    let reading = PayloadReader::new(id, &found.payload);
    let stored = reading.read_stored_chunk(true)?;
    Ok(IndexPoint {
        id,
        chunk: stored.chunk,
        collection: stored.collection,
        generation: stored.generation,
        acl: reading.read_acl(ACL)?,
        acl_revision: reading.read_integer(ACL_REVISION)?,
        fields: reading.read_fields()?,
        dense: vectors.dense,
        lexical: reading.split_terms(vectors.lexical)?,
        gate: reading.read_number(GATE)? as f32,
        tokens: stored.tokens,
    })
}
