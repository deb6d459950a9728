//! The embedded index: SQLite stores the points, searches run in memory, every answer is exact.
//!
//! Invariant: the memory equals the rows. It changes only after the commit and in the order of commits, which a lock
//! around both ensures; a search uses one snapshot and reads no row.

mod access;
mod best;
mod blobs;
mod columns;
mod dense;
mod group;
mod lexical;
mod loading;
mod memory;
mod postings;
mod rows;
mod search;
mod segment;
mod slots;
#[cfg(test)]
mod tests;
mod whole;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ragstone_core::access::{Acl, Scope, ScopedQuery};
use ragstone_core::document::DocumentMetadata;
use ragstone_core::id::{DocumentId, Generation, PointId};
use ragstone_core::seam::index::{
    DocumentGeneration, IndexError, IndexHits, IndexPoint, IndexQuery, IndexSpec, StoredChunk, VectorIndex,
};
use rusqlite::OptionalExtension;

use crate::sqlite::{Durability, SqliteDatabase, SqliteError, lock_mutex, run_blocking};

/// Estimated bytes of disk per point, including the write-ahead log.
const POINT_BYTES: u64 = 16 * 1024;
use super::fit::{check_length, check_points, mismatch_error};
use group::GroupValues;
use memory::SegmentSet;

/// Name of the setting that holds the spec.
const SPEC: &str = "embedded_index_spec";

/// Index whose points are in a SQLite database and are searched in memory.
#[derive(Clone)]
pub struct EmbeddedIndex {
    shared: Arc<IndexInner>,
}

struct IndexInner {
    database: SqliteDatabase,
    /// Durability of commits that change what searches see.
    durability: Durability,
    segments: SegmentSet,
    /// State of writers; its lock is held from before a transaction until the memory is updated.
    writer: Mutex<WriterState>,
}

/// State that writers change, one at a time.
struct WriterState {
    spec: Option<IndexSpec>,
    /// Values that the groups in memory share.
    values: GroupValues,
}

impl WriterState {
    fn dimensions(&self) -> usize {
        self.spec.as_ref().map_or(0, spec_dimensions)
    }
}

impl EmbeddedIndex {
    /// Opens the index in `database`, the catalogue's own, and loads its points into memory. Blocks.
    pub fn open(database: SqliteDatabase) -> Result<Self, IndexError> {
        Self::open_with_durability(database, Durability::Ordered)
    }

    /// Opens the index in a database of its own, which the catalogue's commits do not sync: changes to what is visible
    /// are synced here before the catalogue records them. Blocks.
    pub fn open_separate(database: SqliteDatabase) -> Result<Self, IndexError> {
        Self::open_with_durability(database, Durability::Synced)
    }

    fn open_with_durability(database: SqliteDatabase, durability: Durability) -> Result<Self, IndexError> {
        let spec = database.read_blocking(read_stored_spec)?;
        let mut values = GroupValues::default();
        let segments = match &spec {
            Some(spec) => loading::load_segments(&database, spec_dimensions(spec), &mut values)?,
            None => Vec::new(),
        };
        let shared = IndexInner {
            database,
            durability,
            segments: SegmentSet::new(segments),
            writer: Mutex::new(WriterState { spec, values }),
        };
        // The thread holds the segments and not the database, which may be closed meanwhile.
        let opened = shared.segments.snapshot();
        std::thread::spawn(move || opened.build_sign_bits());
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Runs one write at a time, off the caller's thread.
    async fn run_write(
        &self,
        work: impl FnOnce(&IndexInner, &mut WriterState) -> Result<(), EmbeddedIndexError> + Send + 'static,
    ) -> Result<(), IndexError> {
        let shared = self.shared.clone();
        let work = move || work(&shared, &mut lock_mutex(&shared.writer));
        Ok(run_blocking(work).await?)
    }
}

/// Error of a call: the database failed, or a point does not match the spec.
enum EmbeddedIndexError {
    Database(SqliteError),
    Index(IndexError),
}

impl From<SqliteError> for EmbeddedIndexError {
    fn from(error: SqliteError) -> Self {
        Self::Database(error)
    }
}

impl From<rusqlite::Error> for EmbeddedIndexError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<IndexError> for EmbeddedIndexError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl From<EmbeddedIndexError> for IndexError {
    fn from(failure: EmbeddedIndexError) -> Self {
        match failure {
            EmbeddedIndexError::Database(error) => error.into(),
            EmbeddedIndexError::Index(error) => error,
        }
    }
}

impl From<SqliteError> for IndexError {
    fn from(error: SqliteError) -> Self {
        let detail = error.to_string();
        match error.is_damaged() {
            true => Self::Damaged { detail },
            false => Self::Unavailable { detail },
        }
    }
}

/// Whether points of one spec can be stored in an index of another.
enum SpecCompatibility {
    /// They can be stored: the specs are equal, or these points have no vectors.
    Compatible,
    /// They can be stored once the index, so far without vectors, has dimensions.
    AddsVectors,
    /// They cannot be stored.
    Incompatible,
}

fn compare_specs(held: &IndexSpec, wanted: &IndexSpec) -> SpecCompatibility {
    match (&held.embedder, &wanted.embedder) {
        _ if held.lexical != wanted.lexical => SpecCompatibility::Incompatible,
        (_, None) => SpecCompatibility::Compatible,
        (None, Some(_)) => SpecCompatibility::AddsVectors,
        (Some(_), Some(_)) if held == wanted => SpecCompatibility::Compatible,
        (Some(_), Some(_)) => SpecCompatibility::Incompatible,
    }
}

fn spec_dimensions(spec: &IndexSpec) -> usize {
    spec.dimensions.unwrap_or(0)
}

fn read_stored_spec(c: &rusqlite::Connection) -> Result<Option<IndexSpec>, SqliteError> {
    let text: Option<String> = c
        .query_row("select value from settings where key = ?1", [SPEC], |row| row.get(0))
        .optional()?;
    let read = |text: String| {
        serde_json::from_str(&text).map_err(|error| SqliteError::Damaged(format!("index spec: {error}")))
    };
    text.map(read).transpose()
}

#[async_trait]
impl VectorIndex for EmbeddedIndex {
    async fn prepare_index(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        let spec = spec.clone();
        self.run_write(move |shared, writing| {
            let held = &mut writing.spec;
            if held.as_ref() == Some(&spec) {
                return Ok(());
            }
            let text = serde_json::to_string(&spec).map_err(|error| mismatch_error(error.to_string()))?;
            let empty = shared.database.read_blocking(rows::count_points)? == 0;
            match held.as_ref().filter(|_| !empty).map(|held| compare_specs(held, &spec)) {
                None | Some(SpecCompatibility::AddsVectors) => {}
                Some(SpecCompatibility::Compatible) => return Ok(()),
                Some(SpecCompatibility::Incompatible) => {
                    return Err(EmbeddedIndexError::Index(mismatch_error(format!(
                        "it holds points of {held:?}, not of {spec:?}"
                    ))));
                }
            }
            shared.database.write_blocking(Durability::Synced, |t| {
                t.execute(
                    "insert into settings (key, value) values (?1, ?2)
                     on conflict (key) do update set value = excluded.value",
                    [SPEC, &text],
                )?;
                Ok::<_, EmbeddedIndexError>(())
            })?;
            if !empty {
                let segments = loading::load_segments(&shared.database, spec_dimensions(&spec), &mut writing.values)?;
                shared.segments.replace_all(segments);
                shared.segments.snapshot().build_sign_bits();
            }
            *held = Some(spec);
            Ok(())
        })
        .await
    }

    async fn upsert_points(&self, points: Vec<IndexPoint>) -> Result<(), IndexError> {
        self.run_write(move |shared, writing| {
            check_points(writing.spec.as_ref(), &points)?;
            if !shared.database.has_room_for(points.len() as u64 * POINT_BYTES) {
                let detail = "the disk is full; hint: make room on it, or delete documents".into();
                return Err(IndexError::Unavailable { detail }.into());
            }
            let values = &mut writing.values;
            let inserted = shared
                .database
                .write_blocking(Durability::Ordered, |t| rows::insert_points(t, &points, values))?;
            if !inserted.is_empty() {
                let dimensions = writing.dimensions();
                let new = segment::build_segments(dimensions, &points, &inserted);
                shared.segments.append_segments(new, dimensions);
            }
            Ok(())
        })
        .await
    }

    async fn publish_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        let generation = (document, generation);
        self.run_write(move |shared, _| {
            shared
                .database
                .write_blocking(shared.durability, |t| rows::publish_generation(t, generation))?;
            shared
                .segments
                .update_generation(generation, |segment| segment.publish_generation(generation));
            Ok(())
        })
        .await
    }

    async fn delete_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        let generation = (document, generation);
        self.run_write(move |shared, writing| {
            shared
                .database
                .write_blocking(shared.durability, |t| rows::delete_generation(t, generation))?;
            shared
                .segments
                .update_generation(generation, |segment| segment.remove_generation(generation));
            shared.segments.compact_segments(writing.dimensions());
            Ok(())
        })
        .await
    }

    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &DocumentMetadata,
    ) -> Result<(), IndexError> {
        let generation = (document, generation);
        let (acl, fields) = (acl.clone(), fields.clone());
        self.run_write(move |shared, writing| {
            shared.database.write_blocking(shared.durability, |t| {
                rows::set_access(t, generation, &acl, acl_revision, &fields)
            })?;
            let acl = writing.values.acls.intern_value(acl);
            shared.segments.update_generation(generation, |segment| {
                segment.set_access(generation, &acl, acl_revision, &fields);
            });
            Ok(())
        })
        .await
    }

    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<IndexHits, IndexError> {
        let snapshot = self.shared.segments.snapshot();
        let query = query.clone();
        if let (held @ Some(_), Some(vector)) = (snapshot.dimensions(), &query.query().dense) {
            check_length(held, vector)?;
        }
        Ok(run_blocking(move || Ok::<_, EmbeddedIndexError>(search::search_snapshot(&snapshot, &query))).await?)
    }

    async fn get_chunks(
        &self,
        scope: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let (scope, points) = (scope.clone(), points.to_vec());
        let read = move |c: &rusqlite::Connection| rows::read_chunks(c, &scope, &points, with_tokens);
        Ok(self.shared.database.read(read).await?)
    }

    async fn list_chunks(
        &self,
        scope: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let (scope, generation) = (scope.clone(), (document, generation));
        let read = move |c: &rusqlite::Connection| rows::scroll_chunks(c, &scope, generation, from, limit);
        Ok(self.shared.database.read(read).await?)
    }

    async fn count_points(&self) -> Result<u64, IndexError> {
        Ok(self.shared.database.read(rows::count_points).await?)
    }

    async fn list_generations(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        Ok(self
            .shared
            .database
            .read(move |c| rows::list_generations(c, document))
            .await?)
    }
}
