//! The embedded index: SQLite holds the points, memory searches them, every answer is exact.
//!
//! Invariant: memory is what the rows say. It changes only after the commit and in the order of commits, which a lock
//! around both keeps; a search works on one snapshot and touches no row.

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
use ragstone_core::document::Metadata;
use ragstone_core::id::{DocumentId, Generation, PointId};
use ragstone_core::seam::index::{
    DocumentGeneration, Hits, IndexError, IndexQuery, IndexSpec, Point, StoredChunk, VectorIndex,
};
use rusqlite::OptionalExtension;

use crate::sqlite::{Database, DatabaseError, Durability, blocking, lock};

/// About what a point takes of the disk, log included.
const POINT_BYTES: u64 = 16 * 1024;
use super::fit::{check_length, check_points, mismatch};
use group::GroupValues;
use memory::Memory;

/// The setting that holds the spec.
const SPEC: &str = "embedded_index_spec";

/// Points in a SQLite database, searched in memory.
#[derive(Clone)]
pub struct EmbeddedIndex {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    /// What a change of what is seen waits for.
    durability: Durability,
    memory: Memory,
    /// What may be written, and the order of writes: held from before a transaction until memory has followed it.
    writing: Mutex<Writing>,
}

/// What writers change, one at a time.
struct Writing {
    spec: Option<IndexSpec>,
    /// What the groups in memory share.
    values: GroupValues,
}

impl Writing {
    fn dimensions(&self) -> usize {
        self.spec.as_ref().map_or(0, dimensions)
    }
}

impl EmbeddedIndex {
    /// Opens the index of `database`, which is the catalogue's as well, and reads its points into memory. Blocks.
    pub fn open(database: Database) -> Result<Self, IndexError> {
        Self::open_as(database, Durability::Ordered)
    }

    /// The same of a database of its own, which no commit of the catalogue syncs: what becomes visible, other or gone
    /// there is on the disk before the catalogue says so.
    pub fn open_apart(database: Database) -> Result<Self, IndexError> {
        Self::open_as(database, Durability::Synced)
    }

    fn open_as(database: Database, durability: Durability) -> Result<Self, IndexError> {
        let spec = database.read_blocking(stored_spec)?;
        let mut values = GroupValues::default();
        let segments = match &spec {
            Some(spec) => loading::load(&database, dimensions(spec), &mut values)?,
            None => Vec::new(),
        };
        let shared = Shared {
            database,
            durability,
            memory: Memory::new(segments),
            writing: Mutex::new(Writing { spec, values }),
        };
        // It holds the segments and not the database, which may be closed meanwhile.
        let opened = shared.memory.snapshot();
        std::thread::spawn(move || opened.make_bits());
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Runs one write at a time, off the caller's thread.
    async fn write(
        &self,
        work: impl FnOnce(&Shared, &mut Writing) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), IndexError> {
        let shared = self.shared.clone();
        let work = move || work(&shared, &mut lock(&shared.writing));
        Ok(blocking(work).await?)
    }
}

/// What stops a call: the database, or a point that does not fit.
enum Failure {
    Database(DatabaseError),
    Index(IndexError),
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl From<Failure> for IndexError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Database(error) => error.into(),
            Failure::Index(error) => error,
        }
    }
}

impl From<DatabaseError> for IndexError {
    fn from(error: DatabaseError) -> Self {
        let detail = error.to_string();
        match error.is_damaged() {
            true => Self::Damaged { detail },
            false => Self::Unavailable { detail },
        }
    }
}

/// How points of one spec stand to an index of another.
enum Fit {
    /// They can be stored: the specs are equal, or these have no vectors.
    Holds,
    /// They can be stored once the index has room for vectors, which it had not.
    Raises,
    /// They cannot.
    Other,
}

fn fit(held: &IndexSpec, wanted: &IndexSpec) -> Fit {
    match (&held.embedder, &wanted.embedder) {
        _ if held.lexical != wanted.lexical => Fit::Other,
        (_, None) => Fit::Holds,
        (None, Some(_)) => Fit::Raises,
        (Some(_), Some(_)) if held == wanted => Fit::Holds,
        (Some(_), Some(_)) => Fit::Other,
    }
}

fn dimensions(spec: &IndexSpec) -> usize {
    spec.dimensions.unwrap_or(0)
}

fn stored_spec(c: &rusqlite::Connection) -> Result<Option<IndexSpec>, DatabaseError> {
    let text: Option<String> = c
        .query_row("select value from settings where key = ?1", [SPEC], |row| row.get(0))
        .optional()?;
    let read = |text: String| {
        serde_json::from_str(&text).map_err(|error| DatabaseError::Damaged(format!("index spec: {error}")))
    };
    text.map(read).transpose()
}

#[async_trait]
impl VectorIndex for EmbeddedIndex {
    async fn ensure(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        let spec = spec.clone();
        self.write(move |shared, writing| {
            let held = &mut writing.spec;
            if held.as_ref() == Some(&spec) {
                return Ok(());
            }
            let text = serde_json::to_string(&spec).map_err(|error| mismatch(error.to_string()))?;
            let empty = shared.database.read_blocking(rows::count)? == 0;
            match held.as_ref().filter(|_| !empty).map(|held| fit(held, &spec)) {
                None | Some(Fit::Raises) => {}
                Some(Fit::Holds) => return Ok(()),
                Some(Fit::Other) => {
                    return Err(Failure::Index(mismatch(format!(
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
                Ok::<_, Failure>(())
            })?;
            if !empty {
                let segments = loading::load(&shared.database, dimensions(&spec), &mut writing.values)?;
                shared.memory.begin_again(segments);
                shared.memory.snapshot().make_bits();
            }
            *held = Some(spec);
            Ok(())
        })
        .await
    }

    async fn upsert(&self, points: Vec<Point>) -> Result<(), IndexError> {
        self.write(move |shared, writing| {
            check_points(writing.spec.as_ref(), &points)?;
            if !shared.database.admits(points.len() as u64 * POINT_BYTES) {
                let detail = "the disk is full; hint: make room on it, or delete documents".into();
                return Err(IndexError::Unavailable { detail }.into());
            }
            let values = &mut writing.values;
            let inserted = shared
                .database
                .write_blocking(Durability::Ordered, |t| rows::insert(t, &points, values))?;
            if !inserted.is_empty() {
                let dimensions = writing.dimensions();
                let new = segment::of_points(dimensions, &points, &inserted);
                shared.memory.append(new, dimensions);
            }
            Ok(())
        })
        .await
    }

    async fn publish(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        let generation = (document, generation);
        self.write(move |shared, _| {
            shared
                .database
                .write_blocking(shared.durability, |t| rows::publish(t, generation))?;
            shared
                .memory
                .change_generation(generation, |segment| segment.publish(generation));
            Ok(())
        })
        .await
    }

    async fn delete(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        let generation = (document, generation);
        self.write(move |shared, writing| {
            shared
                .database
                .write_blocking(shared.durability, |t| rows::delete(t, generation))?;
            shared
                .memory
                .change_generation(generation, |segment| segment.remove(generation));
            shared.memory.tidy(writing.dimensions());
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
        fields: &Metadata,
    ) -> Result<(), IndexError> {
        let generation = (document, generation);
        let (acl, fields) = (acl.clone(), fields.clone());
        self.write(move |shared, writing| {
            shared.database.write_blocking(shared.durability, |t| {
                rows::set_access(t, generation, &acl, acl_revision, &fields)
            })?;
            let acl = writing.values.acls.shared(acl);
            shared.memory.change_generation(generation, |segment| {
                segment.set_access(generation, &acl, acl_revision, &fields);
            });
            Ok(())
        })
        .await
    }

    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<Hits, IndexError> {
        let snapshot = self.shared.memory.snapshot();
        let query = query.clone();
        if let (held @ Some(_), Some(vector)) = (snapshot.dimensions(), &query.query().dense) {
            check_length(held, vector)?;
        }
        Ok(blocking(move || Ok::<_, Failure>(search::search(&snapshot, &query))).await?)
    }

    async fn chunks(
        &self,
        scope: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let (scope, points) = (scope.clone(), points.to_vec());
        let read = move |c: &rusqlite::Connection| rows::chunks(c, &scope, &points, with_tokens);
        Ok(self.shared.database.read(read).await?)
    }

    async fn scroll(
        &self,
        scope: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let (scope, generation) = (scope.clone(), (document, generation));
        let read = move |c: &rusqlite::Connection| rows::scroll(c, &scope, generation, from, limit);
        Ok(self.shared.database.read(read).await?)
    }

    async fn count(&self) -> Result<u64, IndexError> {
        Ok(self.shared.database.read(rows::count).await?)
    }

    async fn generations(&self, document: Option<DocumentId>) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        Ok(self
            .shared
            .database
            .read(move |c| rows::generations(c, document))
            .await?)
    }
}
