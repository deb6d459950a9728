//! Loads all points into memory when the index is opened.

use std::collections::HashMap;
use std::sync::Arc;

use ragstone_core::document::DocumentMetadata;
use ragstone_core::id::{ChunkId, DocumentId, Generation, PointId};
use rusqlite::Connection;

use super::blobs::{decode_dense, decode_sparse};
use super::group::{GroupValues, PointGroup};
use super::rows::{damaged_row, read_collection, read_json, unreadable_column};
use super::segment::{IndexSegment, MAX_POINTS, NewPoint, SegmentBuilder};
use crate::shared_values::ParsedTexts;
use crate::sqlite::{SqliteDatabase, SqliteError};

type LoadResult<T> = std::result::Result<T, SqliteError>;

/// Number of threads that load segments.
const LOADER_THREADS: usize = 2;

/// Loads all points, in segments of equal size that are built in parallel.
pub fn load_segments(
    database: &SqliteDatabase,
    dimensions: usize,
    values: &mut GroupValues,
) -> LoadResult<Vec<IndexSegment>> {
    let (groups, ids) =
        database.read_blocking(|c| Ok::<_, SqliteError>((load_groups(c, values)?, load_point_ids(c)?)))?;
    let segments = ids.len().div_ceil(MAX_POINTS).next_multiple_of(LOADER_THREADS);
    let size = ids.len().div_ceil(segments.max(1)).max(1);
    let load = |run: &[i64]| {
        let (start, end) = (run[0], run[run.len() - 1]);
        database.read_blocking(|c| load_segment(c, &groups, dimensions, start, end, size))
    };
    let load = &load;
    let runs: Vec<&[i64]> = ids.chunks(size).collect();
    let mut segments = Vec::new();
    for runs in runs.chunks(LOADER_THREADS) {
        let loaded: LoadResult<Vec<_>> = std::thread::scope(|scope| {
            let loaders: Vec<_> = runs.iter().map(|run| scope.spawn(move || load(run))).collect();
            let joined = loaders.into_iter().map(|loader| loader.join());
            joined
                .map(|loaded| loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        segments.extend(loaded?);
    }
    Ok(segments)
}

/// Loads every group by its row id, with whether it is visible.
fn load_groups(c: &Connection, values: &mut GroupValues) -> LoadResult<HashMap<i64, (Arc<PointGroup>, bool)>> {
    let mut statement =
        c.prepare("select id, document, generation, visible, acl_revision, collection, acl from point_groups")?;
    let mut rows = statement.query([])?;
    let mut groups = HashMap::new();
    let (mut acls, mut collections) = (ParsedTexts::default(), ParsedTexts::default());
    while let Some(row) = rows.next()? {
        let text = |column: usize| row.get_ref(column)?.as_str().map_err(unreadable_column);
        let read_acl = |_: &str| Ok::<_, SqliteError>(values.acls.intern_value(read_json(row, "acl")?));
        let acl = acls.get_or_parse(text(6)?, read_acl)?;
        let read_name = |_: &str| Ok::<_, SqliteError>(values.collections.intern_value(read_collection(row)?));
        let name = collections.get_or_parse(text(5)?, read_name)?;
        let group = PointGroup {
            row: row.get(0)?,
            document: DocumentId(row.get(1)?),
            generation: Generation(row.get(2)?),
            collection: name,
            acl,
            acl_revision: row.get(4)?,
        };
        groups.insert(group.row, (Arc::new(group), row.get(3)?));
    }
    Ok(groups)
}

/// Loads the row ids of all points, in order. They are read from an SQL index, which is far smaller than the table.
fn load_point_ids(c: &Connection) -> LoadResult<Vec<i64>> {
    let mut statement = c.prepare("select id from points")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    let mut ids: Vec<i64> = rows.collect::<rusqlite::Result<_>>()?;
    ids.sort_unstable();
    Ok(ids)
}

/// Builds the segment of the points from row `start` to row `end`.
fn load_segment(
    c: &Connection,
    groups: &HashMap<i64, (Arc<PointGroup>, bool)>,
    dimensions: usize,
    start: i64,
    end: i64,
    size: usize,
) -> LoadResult<IndexSegment> {
    let mut statement = c.prepare(
        "select point, chunk, point_group, gate, dense, sparse from points where id between ?1 and ?2 order by id",
    )?;
    let mut fields = c.prepare("select fields from point_groups where id = ?1")?;
    let mut rows = statement.query([start, end])?;
    let mut builder = SegmentBuilder::new(dimensions, size);
    let mut dense = Vec::with_capacity(dimensions);
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(2)?;
        let Some((group, visible)) = groups.get(&number) else {
            return Err(damaged_row("point", format!("group {number} is missing")));
        };
        if !builder.has_group(group) {
            let fields: DocumentMetadata = fields.query_row([number], |row| Ok(read_json(row, "fields")))??;
            builder.push_group(group, |columns| columns.push(&fields));
        }
        let has_dense = match row.get_ref(4)?.as_blob_or_null().map_err(unreadable_column)? {
            Some(bytes) => {
                decode_dense(bytes, dimensions, &mut dense)?;
                true
            }
            None => false,
        };
        let sparse = row.get_ref(5)?.as_blob().map_err(unreadable_column)?;
        let point = NewPoint {
            point: PointId(row.get(0)?),
            chunk: ChunkId(row.get(1)?),
            group,
            visible: *visible,
            gate: row.get(3)?,
            dense: has_dense.then_some(&dense),
        };
        let (unigrams, bigrams) = decode_sparse(sparse)?;
        builder.push_point(&point, unigrams, bigrams);
    }
    Ok(builder.build())
}
