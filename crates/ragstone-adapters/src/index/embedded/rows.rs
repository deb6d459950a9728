//! Points as rows of the database.
//!
//! Invariant: a point is inserted completely or not at all, never changed, and deleted with its generation; mutable
//! values are in its group's row, so publishing a generation or changing its access touches no point.

use std::collections::HashMap;
use std::sync::Arc;

use ragstone_core::access::{Acl, Scope};
use ragstone_core::document::{Chunk, DocumentMetadata};
use ragstone_core::id::{ChunkId, CollectionName, DocumentId, Generation, PointId};
use ragstone_core::seam::index::{DocumentGeneration, IndexPoint, StoredChunk};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use super::blobs::{encode_dense, encode_sparse};
use super::group::{GroupValues, PointGroup};
use crate::sqlite::SqliteError;

type RowResult<T> = std::result::Result<T, SqliteError>;

/// Inserts the points that are missing; returns their positions in `points`, each with its group.
pub fn insert_points(
    t: &Connection,
    points: &[IndexPoint],
    values: &mut GroupValues,
) -> RowResult<Vec<(usize, Arc<PointGroup>)>> {
    let mut groups = HashMap::new();
    let mut inserted = Vec::new();
    for (at, point) in points.iter().enumerate() {
        if point_exists(t, point.id)? {
            continue;
        }
        let group = find_or_insert_group(t, &mut groups, point, values)?;
        insert_point(t, point, group.row)?;
        inserted.push((at, group));
    }
    Ok(inserted)
}

fn point_exists(t: &Connection, point: PointId) -> RowResult<bool> {
    let mut statement = t.prepare_cached("select 1 from points where point = ?1")?;
    Ok(statement.exists([point.0])?)
}

/// Finds a hidden group with the point's values, perhaps from an earlier batch, or inserts one.
fn find_or_insert_group(
    t: &Connection,
    known: &mut HashMap<DocumentGeneration, Vec<(Arc<PointGroup>, DocumentMetadata)>>,
    point: &IndexPoint,
    values: &mut GroupValues,
) -> RowResult<Arc<PointGroup>> {
    let generation = (point.chunk.document_id, point.generation);
    let groups = match known.entry(generation) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => entry.insert(hidden_groups(t, generation, values)?),
    };
    let fits = |(group, fields): &&(Arc<PointGroup>, DocumentMetadata)| {
        *group.collection == point.collection
            && *group.acl == point.acl
            && group.acl_revision == point.acl_revision
            && *fields == point.fields
    };
    if let Some((group, _)) = groups.iter().find(fits) {
        return Ok(group.clone());
    }
    let group = Arc::new(insert_group(t, point, values)?);
    groups.push((group.clone(), point.fields.clone()));
    Ok(group)
}

fn hidden_groups(
    t: &Connection,
    (document, generation): DocumentGeneration,
    values: &mut GroupValues,
) -> RowResult<Vec<(Arc<PointGroup>, DocumentMetadata)>> {
    let mut statement =
        t.prepare_cached("select * from point_groups where document = ?1 and generation = ?2 and visible = 0")?;
    let mut rows = statement.query(params![document.0, generation.0])?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        groups.push((Arc::new(read_group(row, values)?), read_json(row, "fields")?));
    }
    Ok(groups)
}

fn insert_group(t: &Connection, point: &IndexPoint, values: &mut GroupValues) -> RowResult<PointGroup> {
    t.prepare_cached(
        "insert into point_groups (document, generation, collection, visible, acl, acl_revision, fields)
         values (?1, ?2, ?3, 0, ?4, ?5, ?6)",
    )?
    .execute(params![
        point.chunk.document_id.0,
        point.generation.0,
        point.collection.as_str(),
        write_json(&point.acl)?,
        point.acl_revision,
        write_json(&point.fields)?,
    ])?;
    Ok(PointGroup {
        row: t.last_insert_rowid(),
        document: point.chunk.document_id,
        generation: point.generation,
        collection: values.collections.intern_value(point.collection.clone()),
        acl: values.acls.intern_value(point.acl.clone()),
        acl_revision: point.acl_revision,
    })
}

fn insert_point(t: &Connection, point: &IndexPoint, group: i64) -> RowResult<()> {
    let chunk = &point.chunk;
    t.prepare_cached(
        "insert into points (point, chunk, point_group, ordinal, gate, dense, sparse)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        point.id.0,
        chunk.id.0,
        group,
        chunk.ordinal,
        point.gate,
        point.dense.as_deref().map(encode_dense),
        encode_sparse(&point.lexical),
    ])?;
    let row = t.last_insert_rowid();
    t.prepare_cached(
        "insert into point_texts (id, range_start, range_end, page, section, text)
         values (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        row,
        chunk.range.start,
        chunk.range.end,
        chunk.page,
        chunk.section,
        chunk.text,
    ])?;
    if let Some(tokens) = &point.tokens {
        t.prepare_cached("insert into point_tokens (id, tokens) values (?1, ?2)")?
            .execute(params![row, tokens])?;
    }
    Ok(())
}

/// Makes the points of a generation visible.
pub fn publish_generation(t: &Connection, (document, generation): DocumentGeneration) -> RowResult<()> {
    t.prepare_cached("update point_groups set visible = 1 where document = ?1 and generation = ?2")?
        .execute(params![document.0, generation.0])?;
    Ok(())
}

/// Deletes the points of a generation.
pub fn delete_generation(t: &Connection, (document, generation): DocumentGeneration) -> RowResult<()> {
    const GROUPS: &str = "select id from point_groups where document = ?1 and generation = ?2";
    let points = format!("select id from points where point_group in ({GROUPS})");
    for statement in [
        format!("delete from point_tokens where id in ({points})"),
        format!("delete from point_texts where id in ({points})"),
        format!("delete from points where point_group in ({GROUPS})"),
        "delete from point_groups where document = ?1 and generation = ?2".to_owned(),
    ] {
        t.prepare_cached(&statement)?
            .execute(params![document.0, generation.0])?;
    }
    Ok(())
}

/// Replaces the ACL and the fields of a generation's points.
pub fn set_access(
    t: &Connection,
    (document, generation): DocumentGeneration,
    acl: &Acl,
    revision: u64,
    fields: &DocumentMetadata,
) -> RowResult<()> {
    t.prepare_cached(
        "update point_groups set acl = ?3, acl_revision = ?4, fields = ?5
         where document = ?1 and generation = ?2",
    )?
    .execute(params![
        document.0,
        generation.0,
        write_json(acl)?,
        revision,
        write_json(fields)?
    ])?;
    Ok(())
}

/// Number of points in the index.
pub fn count_points(c: &Connection) -> RowResult<u64> {
    Ok(c.query_row("select count(*) from points", [], |row| row.get(0))?)
}

/// Lists every generation with its number of points.
pub fn list_generations(
    c: &Connection,
    document: Option<DocumentId>,
) -> RowResult<Vec<((DocumentId, Generation), u64)>> {
    let mut statement = c.prepare(
        "select g.document, g.generation, count(*) from points p join point_groups g on g.id = p.point_group
         where ?1 is null or g.document = ?1
         group by g.document, g.generation order by g.document, g.generation",
    )?;
    let rows = statement.query_map([document.map(|document| document.0)], |row| {
        Ok(((DocumentId(row.get(0)?), Generation(row.get(1)?)), row.get(2)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Columns in the order in which [`read_chunk`] reads them.
const TEXT: &str =
    "select g.acl, p.point, g.generation, p.chunk, g.document, p.ordinal, x.text, x.range_start, x.range_end,
    x.page, x.section, g.collection
    from points p join point_groups g on g.id = p.point_group join point_texts x on x.id = p.id";

/// Reads the texts of visible points that `scope` admits.
pub fn read_chunks(
    c: &Connection,
    scope: &Scope,
    points: &[PointId],
    with_tokens: bool,
) -> RowResult<Vec<StoredChunk>> {
    let mut texts = c.prepare_cached(&format!("{TEXT} where p.point = ?1 and g.visible = 1"))?;
    let mut tokens =
        c.prepare_cached("select k.tokens from point_tokens k join points p on p.id = k.id where p.point = ?1")?;
    let mut found = Vec::with_capacity(points.len());
    for point in points {
        let mut rows = texts.query([point.0])?;
        let Some(mut chunk) = rows.next()?.map(|row| read_chunk(row, scope)).transpose()?.flatten() else {
            continue;
        };
        if with_tokens {
            chunk.tokens = tokens.query_row([point.0], |row| row.get(0)).optional()?;
        }
        found.push(chunk);
    }
    Ok(found)
}

/// Reads the texts of the visible points of one generation that `scope` admits, by ordinal.
pub fn scroll_chunks(
    c: &Connection,
    scope: &Scope,
    (document, generation): DocumentGeneration,
    from: u32,
    limit: usize,
) -> RowResult<Vec<StoredChunk>> {
    let mut statement = c.prepare_cached(&format!(
        "{TEXT} where g.document = ?1 and g.generation = ?2 and g.visible = 1 and p.ordinal >= ?3
         order by p.ordinal"
    ))?;
    let mut rows = statement.query(params![document.0, generation.0, from])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        found.extend(read_chunk(row, scope)?);
    }
    Ok(found)
}

fn read_chunk(row: &Row<'_>, scope: &Scope) -> RowResult<Option<StoredChunk>> {
    let acl = row.get_ref(0)?.as_str().map_err(unreadable_column)?;
    let acl = serde_json::from_str(acl).map_err(|error| damaged_row("acl", error))?;
    if !scope.admits(&acl) {
        return Ok(None);
    }
    let name: String = row.get(11)?;
    Ok(Some(StoredChunk {
        point: PointId(row.get(1)?),
        generation: Generation(row.get(2)?),
        chunk: Chunk {
            id: ChunkId(row.get(3)?),
            document_id: DocumentId(row.get(4)?),
            ordinal: row.get(5)?,
            text: row.get(6)?,
            range: row.get(7)?..row.get(8)?,
            page: row.get(9)?,
            section: row.get(10)?,
        },
        collection: name.try_into().map_err(|error| damaged_row("collection", error))?,
        tokens: None,
    }))
}

fn read_group(row: &Row<'_>, values: &mut GroupValues) -> RowResult<PointGroup> {
    Ok(PointGroup {
        row: row.get("id")?,
        document: DocumentId(row.get("document")?),
        generation: Generation(row.get("generation")?),
        collection: values.collections.intern_value(read_collection(row)?),
        acl: values.acls.intern_value(read_json(row, "acl")?),
        acl_revision: row.get("acl_revision")?,
    })
}

/// Reads the collection of a group.
pub fn read_collection(row: &Row<'_>) -> RowResult<CollectionName> {
    let name: String = row.get("collection")?;
    name.try_into().map_err(|error| damaged_row("collection", error))
}

/// Reads a column of JSON.
pub fn read_json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> RowResult<T> {
    let text = row.get_ref(column)?.as_str().map_err(unreadable_column)?;
    serde_json::from_str(text).map_err(|error| damaged_row(column, error))
}

fn write_json<T: serde::Serialize>(value: &T) -> RowResult<String> {
    serde_json::to_string(value).map_err(|error| damaged_row("json", error))
}

/// Error for a column of an unexpected type.
pub fn unreadable_column(error: rusqlite::types::FromSqlError) -> SqliteError {
    damaged_row("column", error)
}

/// Error for a corrupt row.
pub fn damaged_row(what: &str, why: impl std::fmt::Display) -> SqliteError {
    SqliteError::Damaged(format!("{what}: {why}"))
}
