//! Rows of documents and jobs, and conversion of column values.

use ragstone_core::access::Acl;
use ragstone_core::document::{Document, DocumentStatus, SourceUrl};
use ragstone_core::id::{ContentHash, DocumentId, Generation};
use rusqlite::types::{FromSql, FromSqlError};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::SqliteTransactionError;
use crate::catalogue::value::{self, to_nanoseconds, write_enum, write_json};
use crate::sqlite::SqliteError;

pub use crate::catalogue::stored::StoredDocument;
use crate::catalogue::stored::VersionFile;

impl StoredDocument {
    /// Loads the row of `id`, tombstoned or not.
    pub fn load_document(connection: &Connection, id: DocumentId) -> Result<Option<Self>, SqliteTransactionError> {
        let mut statement = connection.prepare_cached("select * from documents where id = ?1")?;
        let mut rows = statement.query([id.0])?;
        rows.next()?.map(Self::from_row).transpose()
    }

    /// Reads a whole row of `documents`.
    pub fn from_row(row: &Row<'_>) -> Result<Self, SqliteTransactionError> {
        let given_title: Option<String> = row.get("given_title")?;
        let published_title: Option<String> = row.get("published_title")?;
        let mut stored = Self {
            document: read_public_document(row)?,
            incarnation: get_integer(row, "life")?,
            newest: get_enum(row, "newest")?,
            published_title,
            published_pipeline: row.get("published_pipeline")?,
            published_file: published_file(row)?,
            name: row.get("name")?,
            given_title,
            declared_media_type: row.get("declared_media_type")?,
            incoming: row.get("incoming")?,
            stored_generation: row.get::<_, Option<u64>>("stored")?.map(Generation),
            pipeline: row.get("pipeline")?,
        };
        stored.update_title();
        Ok(stored)
    }

    /// Inserts or replaces the whole row.
    pub fn save_document(&self, connection: &Connection) -> Result<(), SqliteTransactionError> {
        let d = &self.document;
        connection.prepare_cached(SAVE_DOCUMENT)?.execute(named_params! {
            ":id": d.id.0,
            ":tenant": d.acl.tenant.as_str(),
            ":collection": d.collection.as_str(),
            ":source": d.source.as_str(),
            ":uri": d.uri,
            ":life": self.incarnation,
            ":status": write_enum(&d.status)?,
            ":newest": write_enum(&self.newest)?,
            ":version": d.version,
            ":published": d.published.map(|generation| generation.0),
            ":published_pipeline": self.published_pipeline,
            ":published_hash": self.published_file.as_ref().map(|file| file.content_hash.0),
            ":published_bytes": self.published_file.as_ref().map(|file| file.bytes),
            ":published_name": self.published_file.as_ref().map(|file| &file.name),
            ":published_declared": self.published_file.as_ref().map(|file| &file.declared_media_type),
            ":published_title": self.published_title,
            ":media_type": d.media_type,
            ":pages": d.pages,
            ":chunks": d.chunks,
            ":warnings": write_json(&d.warnings)?,
            ":name": self.name,
            ":given_title": self.given_title,
            ":declared_media_type": self.declared_media_type,
            ":content_hash": d.content_hash.0,
            ":bytes": d.bytes,
            ":incoming": self.incoming,
            ":stored": self.stored_generation.map(|generation| generation.0),
            ":pipeline": self.pipeline,
            ":acl": write_json(&d.acl)?,
            ":acl_revision": d.acl_revision,
            ":brought_by": d.brought_by,
            ":metadata": write_json(&d.metadata)?,
            ":department_id": d.department_id,
            ":source_url": d.source_url.as_ref().map(SourceUrl::as_str),
            ":last_error": d.last_error.as_ref().map(write_json).transpose()?,
            ":created_at": to_nanoseconds(d.created_at)?,
            ":updated_at": to_nanoseconds(d.updated_at)?,
        })?;
        Ok(())
    }
}

const SAVE_DOCUMENT: &str = "insert or replace into documents
    (id, tenant, collection, source, uri, life, status, newest, version, published, published_pipeline,
     published_title, media_type, pages, chunks, warnings, name, given_title, declared_media_type, content_hash,
     bytes, incoming, stored, pipeline, acl, acl_revision, metadata, department_id, source_url, last_error, created_at,
     updated_at, published_hash, published_bytes, published_name, published_declared, brought_by)
    values (:id, :tenant, :collection, :source, :uri, :life, :status, :newest, :version, :published,
     :published_pipeline, :published_title, :media_type, :pages, :chunks, :warnings, :name, :given_title,
     :declared_media_type, :content_hash, :bytes, :incoming, :stored, :pipeline, :acl, :acl_revision, :metadata,
     :department_id, :source_url, :last_error, :created_at, :updated_at, :published_hash,
     :published_bytes, :published_name, :published_declared, :brought_by)";

fn read_public_document(row: &Row<'_>) -> Result<Document, SqliteTransactionError> {
    Ok(Document {
        id: DocumentId(row.get("id")?),
        collection: get_name(row, "collection")?,
        source: get_name(row, "source")?,
        uri: row.get("uri")?,
        title: String::new(),
        media_type: row.get("media_type")?,
        status: get_status(row)?,
        version: get_integer(row, "version")?,
        published: row.get::<_, Option<u64>>("published")?.map(Generation),
        content_hash: ContentHash(row.get("content_hash")?),
        bytes: get_integer(row, "bytes")?,
        pages: row.get("pages")?,
        chunks: row.get("chunks")?,
        acl: get_acl(row)?,
        acl_revision: get_integer(row, "acl_revision")?,
        brought_by: row.get("brought_by")?,
        metadata: get_json(row, "metadata")?,
        department_id: row.get("department_id")?,
        source_url: SourceUrl::from_text(row.get_ref("source_url")?.as_str_or_null().map_err(column_error)?),
        last_error: optional_json(row, "last_error")?,
        warnings: get_json(row, "warnings")?,
        created_at: get_instant(row, "created_at")?,
        updated_at: get_instant(row, "updated_at")?,
    })
}

fn published_file(row: &Row<'_>) -> Result<Option<VersionFile>, SqliteTransactionError> {
    let Some(hash) = row.get("published_hash")? else {
        return Ok(None);
    };
    Ok(Some(VersionFile {
        content_hash: ContentHash(hash),
        bytes: get_integer(row, "published_bytes")?,
        name: row.get("published_name")?,
        declared_media_type: row.get("published_declared")?,
    }))
}

/// Draws the next generation number, unique over all documents, past or present.
pub fn draw_generation(connection: &Connection) -> Result<Generation, SqliteTransactionError> {
    let drawn = connection
        .prepare_cached("update counters set value = value + 1 where name = 'generation' returning value")?
        .query_row([], |row| row.get(0))
        .optional()?;
    drawn
        .map(Generation)
        .ok_or_else(|| SqliteError::Damaged("the counter of generations is missing".into()).into())
}

/// Reads the ACL of a row.
pub fn get_acl(row: &Row<'_>) -> Result<Acl, SqliteTransactionError> {
    get_json(row, "acl")
}

fn get_status(row: &Row<'_>) -> Result<DocumentStatus, SqliteTransactionError> {
    get_enum(row, "status")
}

fn get_integer<T: FromSql>(row: &Row<'_>, column: &str) -> Result<T, SqliteTransactionError> {
    Ok(row.get(column)?)
}

/// Reads a name, which was validated when it was stored.
pub fn get_name<T: TryFrom<String, Error: std::fmt::Display>>(
    row: &Row<'_>,
    column: &str,
) -> Result<T, SqliteTransactionError> {
    Ok(value::read_name(row.get(column)?, column)?)
}

/// Parses a JSON column.
pub fn get_json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, SqliteTransactionError> {
    let text = row.get_ref(column)?.as_str().map_err(column_error)?;
    Ok(value::read_json(text, column)?)
}

/// Parses a JSON column that may be null.
pub fn optional_json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<Option<T>, SqliteTransactionError> {
    match row.get_ref(column)?.as_str_or_null().map_err(column_error)? {
        Some(text) => Ok(Some(value::read_json(text, column)?)),
        None => Ok(None),
    }
}

/// Reads an enum without fields, stored as its JSON name without quotes.
pub fn get_enum<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, SqliteTransactionError> {
    Ok(value::read_enum(row.get(column)?, column)?)
}

/// Reads a time column.
pub fn get_instant(row: &Row<'_>, column: &str) -> Result<OffsetDateTime, SqliteTransactionError> {
    Ok(value::read_instant(row.get(column)?, column)?)
}

/// Reads a time column that may be null.
pub fn optional_instant(row: &Row<'_>, column: &str) -> Result<Option<OffsetDateTime>, SqliteTransactionError> {
    let nanoseconds: Option<i64> = row.get(column)?;
    nanoseconds.map(|_| get_instant(row, column)).transpose()
}

/// Error for a row with an invalid value.
pub fn damaged_row(what: &str, why: impl std::fmt::Display) -> SqliteTransactionError {
    SqliteError::Damaged(format!("{what}: {why}")).into()
}

fn column_error(error: FromSqlError) -> SqliteTransactionError {
    damaged_row("column", error)
}
