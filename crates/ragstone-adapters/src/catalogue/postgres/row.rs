//! Rows of documents, and conversion of column values.

use ragstone_core::access::Acl;
use ragstone_core::document::{Document, SourceUrl};
use ragstone_core::id::{ContentHash, DocumentId, Generation};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::database::PostgresSession;
use super::error::PostgresTransactionError;
use crate::catalogue::stored::{StoredDocument, VersionFile};
use crate::catalogue::value::{self, damaged_value, to_nanoseconds, write_enum, write_json};

/// Every column of a document. They are named, because a column that a later release adds would change the result type
/// of prepared statements.
pub const DOCUMENT: &str = "id, tenant, collection, source, uri, life, status, newest, version, published,
    published_pipeline, published_title, media_type, pages, chunks, warnings, name, given_title, declared_media_type,
    content_hash, bytes, incoming, stored, pipeline, acl, acl_revision, metadata, department_id, source_url, last_error,
    created_at, updated_at, published_hash, published_bytes, published_name, published_declared, brought_by";

const INSERT: &str = "insert into documents (id, tenant, collection, source, uri, life, status, newest, version,
    published, published_pipeline, published_title, media_type, pages, chunks, warnings, name, given_title,
    declared_media_type, content_hash, bytes, incoming, stored, pipeline, acl, acl_revision, metadata, department_id,
    source_url, last_error, created_at, updated_at, published_hash, published_bytes, published_name,
    published_declared, brought_by)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
    $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37)";

const UPDATE: &str = "update documents set tenant = $2, collection = $3, source = $4, uri = $5, life = $6, status = $7,
    newest = $8, version = $9, published = $10, published_pipeline = $11, published_title = $12, media_type = $13,
    pages = $14, chunks = $15, warnings = $16, name = $17, given_title = $18, declared_media_type = $19,
    content_hash = $20, bytes = $21, incoming = $22, stored = $23, pipeline = $24, acl = $25, acl_revision = $26,
    metadata = $27, department_id = $28, source_url = $29, last_error = $30, created_at = $31, updated_at = $32,
    published_hash = $33, published_bytes = $34, published_name = $35, published_declared = $36, brought_by = $37
    where id = $1";

/// Whether a row is locked when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowLock {
    /// The row is not locked.
    Unlocked,
    /// The row is locked for writing until the transaction ends.
    ForUpdate,
}

/// Loads the row of `id`, tombstoned or not.
pub async fn load_document(
    c: &PostgresSession,
    id: DocumentId,
    hold: RowLock,
) -> Result<Option<StoredDocument>, PostgresTransactionError> {
    let row = match hold {
        RowLock::Unlocked => format!("select {DOCUMENT} from documents where id = $1"),
        RowLock::ForUpdate => format!("select {DOCUMENT} from documents where id = $1 for update"),
    };
    c.query_first(&row, &[&id.0])
        .await?
        .as_ref()
        .map(read_document)
        .transpose()
}

/// Inserts a document; a row that appeared meanwhile is a lost race.
pub async fn insert_document(t: &PostgresSession, stored: &StoredDocument) -> Result<(), PostgresTransactionError> {
    write_row(t, stored, INSERT).await
}

/// Updates a document whose row is locked.
pub async fn update_document(t: &PostgresSession, stored: &StoredDocument) -> Result<(), PostgresTransactionError> {
    write_row(t, stored, UPDATE).await
}

async fn write_row(
    t: &PostgresSession,
    stored: &StoredDocument,
    statement: &str,
) -> Result<(), PostgresTransactionError> {
    let d = &stored.document;
    let file = stored.published_file.as_ref();
    let generation = |generation: Option<Generation>| generation.map(|g| to_bigint(g.0)).transpose();
    t.execute_statement(
        statement,
        &[
            &d.id.0,
            &d.acl.tenant.as_str(),
            &d.collection.as_str(),
            &d.source.as_str(),
            &d.uri,
            &to_bigint(stored.incarnation)?,
            &write_enum(&d.status)?,
            &write_enum(&stored.newest)?,
            &to_bigint(d.version)?,
            &generation(d.published)?,
            &stored.published_pipeline,
            &stored.published_title.as_deref().map(without_nul),
            &without_nul(&d.media_type),
            &d.pages.map(i64::from),
            &i64::from(d.chunks),
            &write_json(&d.warnings)?,
            &stored.name,
            &stored.given_title.as_deref().map(without_nul),
            &stored.declared_media_type,
            &d.content_hash.0.as_slice(),
            &to_bigint(d.bytes)?,
            &stored.incoming,
            &generation(stored.stored_generation)?,
            &stored.pipeline,
            &write_json(&d.acl)?,
            &to_bigint(d.acl_revision)?,
            &write_json(&d.metadata)?,
            &d.department_id.as_deref().map(without_nul),
            &d.source_url.as_ref().map(SourceUrl::as_str),
            &d.last_error.as_ref().map(write_json).transpose()?,
            &to_nanoseconds(d.created_at)?,
            &to_nanoseconds(d.updated_at)?,
            &file.map(|file| file.content_hash.0.as_slice()),
            &file.map(|file| to_bigint(file.bytes)).transpose()?,
            &file.map(|file| &file.name),
            &file.and_then(|file| file.declared_media_type.as_ref()),
            &d.brought_by.as_deref().map(without_nul),
        ],
    )
    .await
    .map(drop)
}

/// Reads a row with the columns of [`DOCUMENT`].
pub fn read_document(row: &Row) -> Result<StoredDocument, PostgresTransactionError> {
    let mut stored = StoredDocument {
        document: read_public_document(row)?,
        incarnation: get_number(row, "life")?,
        newest: get_enum(row, "newest")?,
        published_title: get_value(row, "published_title")?,
        published_pipeline: get_value(row, "published_pipeline")?,
        published_file: published_file(row)?,
        name: get_value(row, "name")?,
        given_title: get_value(row, "given_title")?,
        declared_media_type: get_value(row, "declared_media_type")?,
        incoming: get_value(row, "incoming")?,
        stored_generation: optional_number(row, "stored")?.map(Generation),
        pipeline: get_value(row, "pipeline")?,
    };
    stored.update_title();
    Ok(stored)
}

fn read_public_document(row: &Row) -> Result<Document, PostgresTransactionError> {
    Ok(Document {
        id: DocumentId(get_value(row, "id")?),
        collection: get_name(row, "collection")?,
        source: get_name(row, "source")?,
        uri: get_value(row, "uri")?,
        title: String::new(),
        media_type: get_value(row, "media_type")?,
        status: get_enum(row, "status")?,
        version: get_number(row, "version")?,
        published: optional_number(row, "published")?.map(Generation),
        content_hash: ContentHash(get_hash(row, "content_hash")?),
        bytes: get_number(row, "bytes")?,
        pages: optional_number(row, "pages")?,
        chunks: get_number(row, "chunks")?,
        acl: get_acl(row)?,
        acl_revision: get_number(row, "acl_revision")?,
        brought_by: get_value(row, "brought_by")?,
        metadata: get_json(row, "metadata")?,
        department_id: get_value(row, "department_id")?,
        source_url: SourceUrl::from_text(get_value(row, "source_url")?),
        last_error: optional_json(row, "last_error")?,
        warnings: get_json(row, "warnings")?,
        created_at: get_instant(row, "created_at")?,
        updated_at: get_instant(row, "updated_at")?,
    })
}

fn published_file(row: &Row) -> Result<Option<VersionFile>, PostgresTransactionError> {
    let Some(bytes) = optional_number(row, "published_bytes")? else {
        return Ok(None);
    };
    Ok(Some(VersionFile {
        content_hash: ContentHash(get_hash(row, "published_hash")?),
        bytes,
        name: get_value(row, "published_name")?,
        declared_media_type: get_value(row, "published_declared")?,
    }))
}

/// Draws the next generation number, unique over all documents, past or present.
pub async fn draw_generation(t: &PostgresSession) -> Result<Generation, PostgresTransactionError> {
    let row = t.query_one("select nextval('generations') as drawn", &[]).await?;
    Ok(Generation(get_number(&row, "drawn")?))
}

/// Removes NUL characters, which PostgreSQL cannot store and which occur in titles of files.
pub fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Converts a number to a bigint column.
pub fn to_bigint(number: u64) -> Result<i64, PostgresTransactionError> {
    Ok(i64::try_from(number).map_err(|error| damaged_value("number", error))?)
}

/// Reads the value of a column.
pub fn get_value<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, PostgresTransactionError> {
    Ok(row.try_get(column).map_err(|error| damaged_value(column, error))?)
}

/// Reads a number that is not negative.
pub fn get_number<T: TryFrom<i64, Error: std::fmt::Display>>(
    row: &Row,
    column: &str,
) -> Result<T, PostgresTransactionError> {
    let number: i64 = get_value(row, column)?;
    Ok(T::try_from(number).map_err(|error| damaged_value(column, error))?)
}

/// Reads a number that may be null.
pub fn optional_number<T: TryFrom<i64, Error: std::fmt::Display>>(
    row: &Row,
    column: &str,
) -> Result<Option<T>, PostgresTransactionError> {
    let number: Option<i64> = get_value(row, column)?;
    let read = |number| T::try_from(number).map_err(|error| damaged_value(column, error));
    Ok(number.map(read).transpose()?)
}

/// Reads the ACL of a row.
pub fn get_acl(row: &Row) -> Result<Acl, PostgresTransactionError> {
    get_json(row, "acl")
}

/// Reads a UUID column.
pub fn get_uuid(row: &Row, column: &str) -> Result<Uuid, PostgresTransactionError> {
    get_value(row, column)
}

/// Reads a name, which was validated when it was stored.
pub fn get_name<T: TryFrom<String, Error: std::fmt::Display>>(
    row: &Row,
    column: &str,
) -> Result<T, PostgresTransactionError> {
    Ok(value::read_name(get_value(row, column)?, column)?)
}

/// Reads a hash of 32 bytes.
pub fn get_hash(row: &Row, column: &str) -> Result<[u8; 32], PostgresTransactionError> {
    let bytes: &[u8] = get_value(row, column)?;
    Ok(bytes.try_into().map_err(|error| damaged_value(column, error))?)
}

/// Parses a JSON column.
pub fn get_json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T, PostgresTransactionError> {
    Ok(value::read_json(get_value(row, column)?, column)?)
}

/// Parses a JSON column that may be null.
pub fn optional_json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>, PostgresTransactionError> {
    let text: Option<&str> = get_value(row, column)?;
    Ok(text.map(|text| value::read_json(text, column)).transpose()?)
}

/// Reads an enum without fields.
pub fn get_enum<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T, PostgresTransactionError> {
    Ok(value::read_enum(get_value(row, column)?, column)?)
}

/// Reads an enum without fields that may be null.
pub fn optional_enum<T: DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>, PostgresTransactionError> {
    let word: Option<String> = get_value(row, column)?;
    Ok(word.map(|word| value::read_enum(word, column)).transpose()?)
}

/// Reads a time column.
pub fn get_instant(row: &Row, column: &str) -> Result<OffsetDateTime, PostgresTransactionError> {
    Ok(value::read_instant(get_value(row, column)?, column)?)
}

/// Reads a time column that may be null.
pub fn optional_instant(row: &Row, column: &str) -> Result<Option<OffsetDateTime>, PostgresTransactionError> {
    let nanoseconds: Option<i64> = get_value(row, column)?;
    let read = |nanoseconds| value::read_instant(nanoseconds, column);
    Ok(nanoseconds.map(read).transpose()?)
}
