//! Who may read which document, held in memory.
//!
//! Invariant: the memory equals the committed rows. A trigger records every document that a transaction touches,
//! whichever code writes it; the transaction reads those rows again before it commits, and the memory is updated
//! before the next one begins.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use ragstone_core::access::Acl;
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::catalogue::DocumentAccess;
use rusqlite::{Connection, Row};

use super::SqliteError;
use crate::shared_values::{ParsedTexts, SharedPool};

/// Temporary triggers of the connection, so the file's schema stays one that earlier programs know.
const NOTE_TOUCHED: &str = "
    create temp table touched_documents (id blob primary key) strict, without rowid;
    create temp trigger touched_by_insert after insert on main.documents
        begin insert or ignore into touched_documents values (new.id); end;
    create temp trigger touched_by_update after update on main.documents
        begin insert or ignore into touched_documents values (old.id), (new.id); end;
    create temp trigger touched_by_delete after delete on main.documents
        begin insert or ignore into touched_documents values (old.id); end;";

const TOUCHED: &str = "select t.id, d.acl, d.acl_revision, d.published
    from touched_documents t left join main.documents d on d.id = t.id and d.status <> 'deleting'";

const ALL: &str = "select id, acl, acl_revision, published from documents where status <> 'deleting'";

/// A document as a transaction leaves it; `None` if it is deleted or tombstoned.
pub struct TouchedDocument(DocumentId, Option<DocumentAccess>);

/// Sets the triggers that record touched documents on the writing connection.
pub fn track_touched(writer: &Connection) -> rusqlite::Result<()> {
    writer.execute_batch(NOTE_TOUCHED)
}

/// Documents touched by the transaction that is about to commit.
pub fn take_touched(transaction: &Connection) -> Result<Vec<TouchedDocument>, SqliteError> {
    let mut statement = transaction.prepare_cached(TOUCHED)?;
    let mut rows = statement.query([])?;
    let mut touched = Vec::new();
    while let Some(row) = rows.next()? {
        let acl = row.get_ref(1)?.as_str_or_null().map_err(damaged_row)?;
        let access = acl.map(|acl| read_access(row, Arc::new(parse_acl(acl)?))).transpose()?;
        touched.push(TouchedDocument(DocumentId(row.get(0)?), access));
    }
    if !touched.is_empty() {
        transaction
            .prepare_cached("delete from touched_documents")?
            .execute([])?;
    }
    Ok(touched)
}

/// Access data of every document that is not tombstoned; `None` until the rows were read.
#[derive(Debug, Default)]
pub struct AccessCache(RwLock<Option<CachedAccess>>);

#[derive(Debug, Default)]
struct CachedAccess {
    held: HashMap<DocumentId, DocumentAccess>,
    acls: SharedPool<Acl>,
}

impl AccessCache {
    /// Access data of those of `ids` that are not tombstoned; `None` if the rows were not read yet.
    pub fn get(&self, ids: &[DocumentId]) -> Option<Vec<DocumentAccess>> {
        let documents = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let held = &documents.as_ref()?.held;
        Some(ids.iter().filter_map(|id| held.get(id).cloned()).collect())
    }

    /// Reads all rows. The caller holds `writer`, so that no commit comes between.
    pub fn load_rows(&self, writer: &Connection) -> Result<(), SqliteError> {
        let mut documents = CachedAccess::default();
        let mut acls = ParsedTexts::default();
        let mut statement = writer.prepare(ALL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text = row.get_ref(1)?.as_str().map_err(damaged_row)?;
            let acl = acls.get_or_parse(text, |text| {
                Ok::<_, SqliteError>(documents.acls.intern_value(parse_acl(text)?))
            })?;
            let access = read_access(row, acl)?;
            documents.held.insert(access.id, access);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(documents);
        Ok(())
    }

    /// Applies a commit; called under the writer's lock.
    pub fn apply_commit(&self, touched: Vec<TouchedDocument>) {
        if touched.is_empty() {
            return;
        }
        let mut documents = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(documents) = documents.as_mut() {
            documents.apply_touched(touched);
        }
    }
}

#[cfg(test)]
impl AccessCache {
    pub fn forget(&self) {
        *self.0.write().unwrap() = None;
    }

    pub fn acls(&self) -> usize {
        self.0
            .read()
            .unwrap()
            .as_ref()
            .map_or(0, |documents| documents.acls.len())
    }
}

impl CachedAccess {
    fn apply_touched(&mut self, touched: Vec<TouchedDocument>) {
        for TouchedDocument(id, access) in touched {
            match access {
                Some(mut access) => {
                    access.acl = self.acls.intern_value(Arc::unwrap_or_clone(access.acl));
                    self.held.insert(id, access);
                }
                None => drop(self.held.remove(&id)),
            }
        }
    }
}

fn read_access(row: &Row<'_>, acl: Arc<Acl>) -> Result<DocumentAccess, SqliteError> {
    Ok(DocumentAccess {
        id: DocumentId(row.get(0)?),
        acl,
        acl_revision: row.get(2)?,
        published: row.get::<_, Option<u64>>(3)?.map(Generation),
    })
}

fn parse_acl(acl: &str) -> Result<Acl, SqliteError> {
    serde_json::from_str(acl).map_err(damaged_row)
}

fn damaged_row(why: impl std::fmt::Display) -> SqliteError {
    SqliteError::Damaged(format!("documents: {why}"))
}

#[cfg(test)]
mod tests;
