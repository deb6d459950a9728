//! Reads of documents, with a scope wherever a caller asks.

use ragstone_core::access::Scope;
use ragstone_core::document::{Document, DocumentStatus, SourceUrl};
use ragstone_core::id::{DocumentId, SourceName, TenantId};
use ragstone_core::seam::catalogue::{DocumentFilter, DocumentLabel, FailedDocuments, ListPage, PageRequest};
use rusqlite::{Connection, named_params, params};
use uuid::Uuid;

use super::SqliteTransactionError;
use super::row::{StoredDocument, get_acl, get_name};
use crate::catalogue::cursor::CursorKey;
use crate::catalogue::value::{read_json, to_nanoseconds, write_enum};
use crate::catalogue::version::is_visible;

/// A document that `scope` admits and that is not tombstoned.
pub fn get_document(
    connection: &Connection,
    scope: &Scope,
    id: DocumentId,
) -> Result<Option<Document>, SqliteTransactionError> {
    let found = StoredDocument::load_document(connection, id)?.map(|stored| stored.document);
    Ok(found.filter(|document| is_visible(document, scope)))
}

/// One page of the documents that `scope` admits, oldest first.
pub fn list_documents(
    connection: &Connection,
    scope: &Scope,
    filter: &DocumentFilter,
    page: &PageRequest,
) -> Result<ListPage<Document>, SqliteTransactionError> {
    let after = page.cursor.as_deref().map(CursorKey::parse_cursor).transpose()?;
    let after = after.unwrap_or(CursorKey {
        at: i64::MIN,
        id: Uuid::nil(),
    });
    let mut statement = connection.prepare_cached(
        "select * from documents
         where tenant = :tenant and (created_at, id) > (:at, :id) and status <> 'deleting'
           and (:uri is null or uri = :uri) and (:source is null or source = :source)
           and (:collection is null or collection = :collection) and (:status is null or status = :status)
           and (:made_by is null or published_pipeline = :made_by)
           and (:not_made_by is null or published_pipeline <> :not_made_by)
         order by created_at, id",
    )?;
    let mut rows = statement.query(named_params! {
        ":tenant": scope.tenant().as_str(),
        ":at": after.at,
        ":id": after.id,
        ":uri": filter.uri,
        ":source": filter.source.as_ref().map(|source| source.as_str()),
        ":collection": filter.collection.as_ref().map(|collection| collection.as_str()),
        ":status": filter.status.as_ref().map(write_enum).transpose()?,
        ":made_by": filter.made_by,
        ":not_made_by": filter.not_made_by,
    })?;
    let mut items = Vec::new();
    let mut next_cursor = None;
    while let Some(row) = rows.next()? {
        if !scope.admits(&get_acl(row)?) {
            continue;
        }
        if items.len() == page.limit {
            next_cursor = items.last().map(document_cursor).transpose()?;
            break;
        }
        items.push(StoredDocument::from_row(row)?.document);
    }
    Ok(ListPage { items, next_cursor })
}

fn document_cursor(document: &Document) -> Result<String, SqliteTransactionError> {
    let at = to_nanoseconds(document.created_at)?;
    Ok(CursorKey { at, id: document.id.0 }.encode_cursor())
}

/// Documents of a source with a `last_error`; the condition matches that of the index `documents_with_error`.
pub fn list_failed_documents(
    connection: &Connection,
    tenant: &TenantId,
    source: &SourceName,
    limit: usize,
) -> Result<FailedDocuments, SqliteTransactionError> {
    let of_source = "from documents
         where tenant = ?1 and source = ?2 and last_error is not null and status <> 'deleting'";
    let count = connection
        .prepare_cached(&format!("select count(*) {of_source}"))?
        .query_row(params![tenant.as_str(), source.as_str()], |row| row.get(0))?;
    let mut statement = connection.prepare_cached(&format!(
        "select uri, last_error {of_source} order by created_at, id limit ?3"
    ))?;
    let mut rows = statement.query(params![tenant.as_str(), source.as_str(), limit])?;
    let mut first = Vec::new();
    while let Some(row) = rows.next()? {
        let error: String = row.get("last_error")?;
        first.push((row.get("uri")?, read_json(&error, "last_error")?));
    }
    Ok(FailedDocuments { count, first })
}

/// Lists every tenant that has documents.
pub fn list_tenants(connection: &Connection) -> Result<Vec<TenantId>, SqliteTransactionError> {
    let mut statement = connection.prepare_cached("select distinct tenant from documents order by tenant")?;
    let mut rows = statement.query([])?;
    let mut tenants = Vec::new();
    while let Some(row) = rows.next()? {
        tenants.push(get_name(row, "tenant")?);
    }
    Ok(tenants)
}

/// Those of `ids` that are not tombstoned, regardless of tenant and ACL.
pub fn documents_unchecked(
    connection: &Connection,
    ids: &[DocumentId],
) -> Result<Vec<Document>, SqliteTransactionError> {
    let mut standing = Vec::with_capacity(ids.len());
    for id in ids {
        let found = StoredDocument::load_document(connection, *id)?.map(|stored| stored.document);
        standing.extend(found.filter(|document| document.status != DocumentStatus::Deleting));
    }
    Ok(standing)
}

const LABEL: &str = "select acl, coalesce(given_title, published_title, name), uri, source_url from documents
    where id = ?1 and status <> 'deleting'";

/// Labels of those of `ids` that `scope` admits and that are not tombstoned.
pub fn get_document_labels(
    connection: &Connection,
    scope: &Scope,
    ids: &[DocumentId],
) -> Result<Vec<DocumentLabel>, SqliteTransactionError> {
    let mut statement = connection.prepare_cached(LABEL)?;
    let mut labels = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = statement.query([id.0])?;
        let Some(row) = rows.next()? else { continue };
        let acl: String = row.get(0)?;
        if scope.admits(&read_json(&acl, "acl")?) {
            let source_url: Option<String> = row.get(3)?;
            labels.push(DocumentLabel {
                id: *id,
                title: row.get(1)?,
                uri: row.get(2)?,
                source_url: SourceUrl::from_text(source_url.as_deref()),
            });
        }
    }
    Ok(labels)
}
