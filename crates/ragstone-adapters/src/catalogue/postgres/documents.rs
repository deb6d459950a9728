//! Reads of documents, with a scope wherever a caller asks.

use std::collections::HashMap;
use std::sync::Arc;

use ragstone_core::access::Scope;
use ragstone_core::document::{Document, SourceUrl};
use ragstone_core::id::{DocumentId, Generation, SourceName, TenantId};
use ragstone_core::seam::catalogue::{
    DocumentAccess, DocumentFilter, DocumentLabel, FailedDocuments, ListPage, PageRequest,
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::database::PostgresSession;
use super::error::PostgresTransactionError;
use super::row::{
    DOCUMENT, RowLock, get_acl, get_json, get_name, get_number, get_value, optional_number, read_document, without_nul,
};
use crate::catalogue::cursor::{CursorKey, build_page};
use crate::catalogue::value::{to_nanoseconds, write_enum};
use crate::catalogue::version::is_visible;
use crate::shared_values::ParsedTexts;

/// A document that `scope` admits and that is not tombstoned.
pub async fn get_document(
    c: &PostgresSession,
    scope: &Scope,
    id: DocumentId,
) -> Result<Option<Document>, PostgresTransactionError> {
    let found = super::row::load_document(c, id, RowLock::Unlocked).await?;
    let seen = |document: &Document| is_visible(document, scope);
    Ok(found.map(|stored| stored.document).filter(seen))
}

/// One page of the documents that `scope` admits, oldest first.
pub async fn list_documents(
    c: &PostgresSession,
    scope: &Scope,
    filter: &DocumentFilter,
    page: &PageRequest,
) -> Result<ListPage<Document>, PostgresTransactionError> {
    let after = page.cursor.as_deref().map(CursorKey::parse_cursor).transpose()?;
    let mut after = after.unwrap_or(CursorKey {
        at: i64::MIN,
        id: Uuid::nil(),
    });
    let query = format!(
        "select {DOCUMENT} from documents
         where tenant = $1 and (created_at, id) > ($2, $3) and status <> 'deleting'
           and ($5::text is null or uri = $5) and ($6::text is null or source = $6)
           and ($7::text is null or collection = $7) and ($8::text is null or status = $8)
           and ($9::text is null or published_pipeline = $9)
           and ($10::text is null or published_pipeline <> $10)
         order by created_at, id limit $4"
    );
    let status = filter.status.as_ref().map(write_enum).transpose()?;
    let uri = filter.uri.as_deref().map(without_nul);
    let limit = page.limit as i64 + 1;
    let mut items = Vec::new();
    loop {
        let rows = c
            .query_all(
                &query,
                &[
                    &scope.tenant().as_str(),
                    &after.at,
                    &after.id,
                    &limit,
                    &uri,
                    &filter.source.as_ref().map(|source| source.as_str()),
                    &filter.collection.as_ref().map(|collection| collection.as_str()),
                    &status,
                    &filter.made_by,
                    &filter.not_made_by,
                ],
            )
            .await?;
        for row in &rows {
            let document = read_document(row)?.document;
            after = document_key(&document)?;
            items.extend(scope.admits(&document.acl).then_some(document));
        }
        if items.len() > page.limit || (rows.len() as i64) < limit {
            break;
        }
    }
    build_page(items, page.limit, |last| Ok(document_key(last)?.encode_cursor()))
}

fn document_key(document: &Document) -> Result<CursorKey, PostgresTransactionError> {
    Ok(CursorKey {
        at: to_nanoseconds(document.created_at)?,
        id: document.id.0,
    })
}

/// Documents of a source with a `last_error`; the condition matches that of the index `documents_with_error`.
pub async fn list_failed_documents(
    c: &PostgresSession,
    tenant: &TenantId,
    source: &SourceName,
    limit: usize,
) -> Result<FailedDocuments, PostgresTransactionError> {
    let of_source = "from documents
         where tenant = $1 and source = $2 and last_error is not null and status <> 'deleting'";
    let (tenant, source, limit) = (tenant.as_str(), source.as_str(), limit as i64);
    let counted = c
        .query_first(&format!("select count(*) as failed {of_source}"), &[&tenant, &source])
        .await?;
    let count = counted.as_ref().map_or(Ok(0), |row| get_number(row, "failed"))?;
    let rows = c
        .query_all(
            &format!("select uri, last_error {of_source} order by created_at, id limit $3"),
            &[&tenant, &source, &limit],
        )
        .await?;
    let first = rows
        .iter()
        .map(|row| Ok((get_value(row, "uri")?, get_json(row, "last_error")?)));
    let first = first.collect::<Result<_, PostgresTransactionError>>()?;
    Ok(FailedDocuments { count, first })
}

/// Lists every tenant that has documents.
pub async fn list_tenants(c: &PostgresSession) -> Result<Vec<TenantId>, PostgresTransactionError> {
    let rows = c
        .query_all("select distinct tenant from documents order by tenant", &[])
        .await?;
    rows.iter().map(|row| get_name(row, "tenant")).collect()
}

/// Those of `ids` that are not tombstoned, regardless of tenant and ACL, in the order of `ids`.
pub async fn documents_unchecked(
    c: &PostgresSession,
    ids: &[DocumentId],
) -> Result<Vec<Document>, PostgresTransactionError> {
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = c
        .query_all(
            &format!("select {DOCUMENT} from documents where id = any($1) and status <> 'deleting'"),
            &[&uuids],
        )
        .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let document = read_document(row)?.document;
        found.insert(document.id, document);
    }
    Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
}

/// ACLs of those of `ids` that are not tombstoned.
pub async fn get_document_access(
    c: &PostgresSession,
    ids: &[DocumentId],
) -> Result<Vec<DocumentAccess>, PostgresTransactionError> {
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = c
        .query_all(
            "select id, acl, acl_revision, published from documents where id = any($1) and status <> 'deleting'",
            &[&uuids],
        )
        .await?;
    let mut acls = ParsedTexts::default();
    let of = |row: &Row| {
        let read = |_: &str| get_acl(row).map(Arc::new);
        Ok(DocumentAccess {
            id: DocumentId(get_value(row, "id")?),
            acl: acls.get_or_parse(get_value(row, "acl")?, read)?,
            acl_revision: get_number(row, "acl_revision")?,
            published: optional_number(row, "published")?.map(Generation),
        })
    };
    rows.iter().map(of).collect()
}

/// Labels of those of `ids` that `scope` admits and that are not tombstoned.
pub async fn get_document_labels(
    c: &PostgresSession,
    scope: &Scope,
    ids: &[DocumentId],
) -> Result<Vec<DocumentLabel>, PostgresTransactionError> {
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = c
        .query_all(
            "select id, acl, coalesce(given_title, published_title, name) as title, uri, source_url from documents
             where id = any($1) and status <> 'deleting'",
            &[&uuids],
        )
        .await?;
    let mut labels = Vec::with_capacity(rows.len());
    for row in &rows {
        if scope.admits(&get_acl(row)?) {
            labels.push(DocumentLabel {
                id: DocumentId(get_value(row, "id")?),
                title: get_value(row, "title")?,
                uri: get_value(row, "uri")?,
                source_url: SourceUrl::from_text(get_value::<Option<&str>>(row, "source_url")?),
            });
        }
    }
    Ok(labels)
}
