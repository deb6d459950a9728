//! Reads points back as they were stored, for the export of a library.

use async_trait::async_trait;
use ragstone_core::document::Chunk;
use ragstone_core::id::{ChunkId, DocumentId, Generation, PointId};
use ragstone_core::rank::SparseVector;
use ragstone_core::seam::index::{IndexError, IndexPoint};
use ragstone_core::seam::portable::PointReader;
use rusqlite::{Connection, Row, params};

use super::EmbeddedIndex;
use super::blobs::{decode_dense, decode_sparse};
use super::rows::{read_collection, read_json, unreadable_column};
use crate::sqlite::SqliteError;

const WHOLE: &str = "select p.point, p.chunk, p.ordinal, p.gate, p.dense, p.sparse, g.document, g.generation,
    g.collection, g.acl, g.acl_revision, g.fields, x.range_start, x.range_end, x.page, x.section, x.text, k.tokens
    from points p join point_groups g on g.id = p.point_group join point_texts x on x.id = p.id
    left join point_tokens k on k.id = p.id
    where g.document = ?1 and g.generation = ?2 and p.ordinal >= ?3 order by p.ordinal limit ?4";

#[async_trait]
impl PointReader for EmbeddedIndex {
    async fn read_points(
        &self,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<IndexPoint>, IndexError> {
        let read = move |c: &Connection| {
            let mut statement = c.prepare_cached(WHOLE)?;
            let mut rows = statement.query(params![document.0, generation.0, from, limit])?;
            let mut points = Vec::new();
            while let Some(row) = rows.next()? {
                points.push(read_point(row)?);
            }
            Ok::<_, SqliteError>(points)
        };
        Ok(self.shared.database.read(read).await?)
    }
}

fn read_point(row: &Row<'_>) -> Result<IndexPoint, SqliteError> {
    let dense = row.get_ref("dense")?.as_blob_or_null().map_err(unreadable_column)?;
    let dense = dense.map(|bytes| {
        let mut vector = Vec::new();
        decode_dense(bytes, bytes.len() / size_of::<f32>(), &mut vector).map(|()| vector)
    });
    let (unigrams, bigrams) = decode_sparse(row.get_ref("sparse")?.as_blob().map_err(unreadable_column)?)?;
    Ok(IndexPoint {
        id: PointId(row.get("point")?),
        chunk: Chunk {
            id: ChunkId(row.get("chunk")?),
            document_id: DocumentId(row.get("document")?),
            ordinal: row.get("ordinal")?,
            text: row.get("text")?,
            range: row.get("range_start")?..row.get("range_end")?,
            page: row.get("page")?,
            section: row.get("section")?,
        },
        collection: read_collection(row)?,
        generation: Generation(row.get("generation")?),
        acl: read_json(row, "acl")?,
        acl_revision: row.get("acl_revision")?,
        fields: read_json(row, "fields")?,
        dense: dense.transpose()?,
        lexical: SparseVector {
            unigrams: unigrams.collect(),
            bigrams: bigrams.collect(),
        },
        gate: row.get("gate")?,
        tokens: row.get("tokens")?,
    })
}
