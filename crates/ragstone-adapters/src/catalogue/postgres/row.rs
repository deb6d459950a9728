//! Rows of documents, and the values in rows.

use ragstone_core::access::Acl;
use ragstone_core::document::{Document, SourceUrl};
use ragstone_core::id::{ContentHash, DocumentId, Generation};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::database::Session;
use super::error::Failure;
use crate::catalogue::stored::{File, StoredDocument};
use crate::catalogue::value::{self, damaged, nanoseconds, write_json, write_word};

/// Every column of a document. Named one by one: what a later release adds must not change what this one prepared.
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

/// Whether a row that is read may be written in the same transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is read only.
    No,
    /// Nobody else writes it until the transaction ends.
    Row,
}

/// The row of `id`, tombstoned or not.
pub async fn document(c: &Session, id: DocumentId, hold: Hold) -> Result<Option<StoredDocument>, Failure> {
    let row = match hold {
        Hold::No => format!("select {DOCUMENT} from documents where id = $1"),
        Hold::Row => format!("select {DOCUMENT} from documents where id = $1 for update"),
    };
    c.first(&row, &[&id.0]).await?.as_ref().map(read_document).transpose()
}

/// Writes a document that has no row; one that got a row meanwhile is a race that is lost.
pub async fn insert_document(t: &Session, stored: &StoredDocument) -> Result<(), Failure> {
    write(t, stored, INSERT).await
}

/// Writes a document whose row is held.
pub async fn update_document(t: &Session, stored: &StoredDocument) -> Result<(), Failure> {
    write(t, stored, UPDATE).await
}

async fn write(t: &Session, stored: &StoredDocument, statement: &str) -> Result<(), Failure> {
    let d = &stored.document;
    let file = stored.published_file.as_ref();
    let generation = |generation: Option<Generation>| generation.map(|g| whole(g.0)).transpose();
    t.run(
        statement,
        &[
            &d.id.0,
            &d.acl.tenant.as_str(),
            &d.collection.as_str(),
            &d.source.as_str(),
            &d.uri,
            &whole(stored.life)?,
            &write_word(&d.status)?,
            &write_word(&stored.newest)?,
            &whole(d.version)?,
            &generation(d.published)?,
            &stored.published_pipeline,
            &stored.published_title.as_deref().map(plain),
            &plain(&d.media_type),
            &d.pages.map(i64::from),
            &i64::from(d.chunks),
            &write_json(&d.warnings)?,
            &stored.name,
            &stored.given_title.as_deref().map(plain),
            &stored.declared_media_type,
            &d.content_hash.0.as_slice(),
            &whole(d.bytes)?,
            &stored.incoming,
            &generation(stored.stored)?,
            &stored.pipeline,
            &write_json(&d.acl)?,
            &whole(d.acl_revision)?,
            &write_json(&d.metadata)?,
            &d.department_id.as_deref().map(plain),
            &d.source_url.as_ref().map(SourceUrl::as_str),
            &d.last_error.as_ref().map(write_json).transpose()?,
            &nanoseconds(d.created_at)?,
            &nanoseconds(d.updated_at)?,
            &file.map(|file| file.content_hash.0.as_slice()),
            &file.map(|file| whole(file.bytes)).transpose()?,
            &file.map(|file| &file.name),
            &file.and_then(|file| file.declared_media_type.as_ref()),
            &d.brought_by.as_deref().map(plain),
        ],
    )
    .await
    .map(drop)
}

/// Reads a row of [`DOCUMENT`].
pub fn read_document(row: &Row) -> Result<StoredDocument, Failure> {
    let mut stored = StoredDocument {
        document: seen_document(row)?,
        life: number(row, "life")?,
        newest: word(row, "newest")?,
        published_title: get(row, "published_title")?,
        published_pipeline: get(row, "published_pipeline")?,
        published_file: published_file(row)?,
        name: get(row, "name")?,
        given_title: get(row, "given_title")?,
        declared_media_type: get(row, "declared_media_type")?,
        incoming: get(row, "incoming")?,
        stored: optional_number(row, "stored")?.map(Generation),
        pipeline: get(row, "pipeline")?,
    };
    stored.name_it();
    Ok(stored)
}

fn seen_document(row: &Row) -> Result<Document, Failure> {
    Ok(Document {
        id: DocumentId(get(row, "id")?),
        collection: name(row, "collection")?,
        source: name(row, "source")?,
        uri: get(row, "uri")?,
        title: String::new(),
        media_type: get(row, "media_type")?,
        status: word(row, "status")?,
        version: number(row, "version")?,
        published: optional_number(row, "published")?.map(Generation),
        content_hash: ContentHash(hash(row, "content_hash")?),
        bytes: number(row, "bytes")?,
        pages: optional_number(row, "pages")?,
        chunks: number(row, "chunks")?,
        acl: acl(row)?,
        acl_revision: number(row, "acl_revision")?,
        brought_by: get(row, "brought_by")?,
        metadata: json(row, "metadata")?,
        department_id: get(row, "department_id")?,
        source_url: SourceUrl::of_text(get(row, "source_url")?),
        last_error: optional_json(row, "last_error")?,
        warnings: json(row, "warnings")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
    })
}

fn published_file(row: &Row) -> Result<Option<File>, Failure> {
    let Some(bytes) = optional_number(row, "published_bytes")? else {
        return Ok(None);
    };
    Ok(Some(File {
        content_hash: ContentHash(hash(row, "published_hash")?),
        bytes,
        name: get(row, "published_name")?,
        declared_media_type: get(row, "published_declared")?,
    }))
}

/// The next number that no generation of any document, past or present, has.
pub async fn draw_generation(t: &Session) -> Result<Generation, Failure> {
    let row = t.one("select nextval('generations') as drawn", &[]).await?;
    Ok(Generation(number(&row, "drawn")?))
}

/// Text as PostgreSQL can keep it: it has no character zero, which stands in titles that files bring.
pub fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A number as it stands in a row.
pub fn whole(number: u64) -> Result<i64, Failure> {
    Ok(i64::try_from(number).map_err(|error| damaged("number", error))?)
}

/// What a column holds.
pub fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, Failure> {
    Ok(row.try_get(column).map_err(|error| damaged(column, error))?)
}

/// A number that is not below zero.
pub fn number<T: TryFrom<i64, Error: std::fmt::Display>>(row: &Row, column: &str) -> Result<T, Failure> {
    let number: i64 = get(row, column)?;
    Ok(T::try_from(number).map_err(|error| damaged(column, error))?)
}

/// A number, if there is one.
pub fn optional_number<T: TryFrom<i64, Error: std::fmt::Display>>(
    row: &Row,
    column: &str,
) -> Result<Option<T>, Failure> {
    let number: Option<i64> = get(row, column)?;
    let read = |number| T::try_from(number).map_err(|error| damaged(column, error));
    Ok(number.map(read).transpose()?)
}

/// The ACL in a row.
pub fn acl(row: &Row) -> Result<Acl, Failure> {
    json(row, "acl")
}

/// The id in a row.
pub fn id(row: &Row, column: &str) -> Result<Uuid, Failure> {
    get(row, column)
}

/// A name that was checked when it came in.
pub fn name<T: TryFrom<String, Error: std::fmt::Display>>(row: &Row, column: &str) -> Result<T, Failure> {
    Ok(value::read_name(get(row, column)?, column)?)
}

/// 32 bytes.
pub fn hash(row: &Row, column: &str) -> Result<[u8; 32], Failure> {
    let bytes: &[u8] = get(row, column)?;
    Ok(bytes.try_into().map_err(|error| damaged(column, error))?)
}

/// What a JSON column holds.
pub fn json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T, Failure> {
    Ok(value::read_json(get(row, column)?, column)?)
}

/// What a JSON column holds, if anything.
pub fn optional_json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>, Failure> {
    let text: Option<&str> = get(row, column)?;
    Ok(text.map(|text| value::read_json(text, column)).transpose()?)
}

/// A value of an enum without fields.
pub fn word<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T, Failure> {
    Ok(value::read_word(get(row, column)?, column)?)
}

/// A value of an enum without fields, if there is one.
pub fn optional_word<T: DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>, Failure> {
    let word: Option<String> = get(row, column)?;
    Ok(word.map(|word| value::read_word(word, column)).transpose()?)
}

/// The time in a row.
pub fn instant(row: &Row, column: &str) -> Result<OffsetDateTime, Failure> {
    Ok(value::read_instant(get(row, column)?, column)?)
}

/// The time in a row, if there is one.
pub fn optional_instant(row: &Row, column: &str) -> Result<Option<OffsetDateTime>, Failure> {
    let nanoseconds: Option<i64> = get(row, column)?;
    let read = |nanoseconds| value::read_instant(nanoseconds, column);
    Ok(nanoseconds.map(read).transpose()?)
}
