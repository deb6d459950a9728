//! Reading documents, each time through a scope.

use std::collections::HashMap;
use std::sync::Arc;

use ragstone_core::access::Scope;
use ragstone_core::document::{Document, SourceUrl};
use ragstone_core::id::{DocumentId, Generation, SourceName, TenantId};
use ragstone_core::seam::catalogue::{
    DocumentAccess, DocumentFilter, DocumentLabel, FailedDocuments, Page, PageRequest,
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::database::Session;
use super::error::Failure;
use super::row::{DOCUMENT, Hold, acl, get, json, name, number, optional_number, plain, read_document};
use crate::catalogue::cursor::{Key, page_of};
use crate::catalogue::value::{nanoseconds, write_word};
use crate::catalogue::version::is_visible;
use crate::shared_values::ReadTexts;

/// A document that `scope` admits and that is not tombstoned.
pub async fn document(c: &Session, scope: &Scope, id: DocumentId) -> Result<Option<Document>, Failure> {
    let found = super::row::document(c, id, Hold::No).await?;
    let seen = |document: &Document| is_visible(document, scope);
    Ok(found.map(|stored| stored.document).filter(seen))
}

/// One page of the documents that `scope` admits, oldest first.
pub async fn documents(
    c: &Session,
    scope: &Scope,
    filter: &DocumentFilter,
    page: &PageRequest,
) -> Result<Page<Document>, Failure> {
    let after = page.cursor.as_deref().map(Key::read).transpose()?;
    let mut after = after.unwrap_or(Key {
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
    let status = filter.status.as_ref().map(write_word).transpose()?;
    let uri = filter.uri.as_deref().map(plain);
    let limit = page.limit as i64 + 1;
    let mut items = Vec::new();
    loop {
        let rows = c
            .all(
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
            after = key(&document)?;
            items.extend(scope.admits(&document.acl).then_some(document));
        }
        if items.len() > page.limit || (rows.len() as i64) < limit {
            break;
        }
    }
    page_of(items, page.limit, |last| Ok(key(last)?.write()))
}

fn key(document: &Document) -> Result<Key, Failure> {
    Ok(Key {
        at: nanoseconds(document.created_at)?,
        id: document.id.0,
    })
}

/// The documents of a source that have a `last_error`; the condition is that of the index `documents_with_error`.
pub async fn failed(
    c: &Session,
    tenant: &TenantId,
    source: &SourceName,
    limit: usize,
) -> Result<FailedDocuments, Failure> {
    let of_source = "from documents
         where tenant = $1 and source = $2 and last_error is not null and status <> 'deleting'";
    let (tenant, source, limit) = (tenant.as_str(), source.as_str(), limit as i64);
    let counted = c
        .first(&format!("select count(*) as failed {of_source}"), &[&tenant, &source])
        .await?;
    let count = counted.as_ref().map_or(Ok(0), |row| number(row, "failed"))?;
    let rows = c
        .all(
            &format!("select uri, last_error {of_source} order by created_at, id limit $3"),
            &[&tenant, &source, &limit],
        )
        .await?;
    let first = rows.iter().map(|row| Ok((get(row, "uri")?, json(row, "last_error")?)));
    let first = first.collect::<Result<_, Failure>>()?;
    Ok(FailedDocuments { count, first })
}

/// Every tenant that has documents.
pub async fn tenants(c: &Session) -> Result<Vec<TenantId>, Failure> {
    let rows = c
        .all("select distinct tenant from documents order by tenant", &[])
        .await?;
    rows.iter().map(|row| name(row, "tenant")).collect()
}

/// Of `ids`, the documents that are not tombstoned, whatever their tenant and ACL, in the order of `ids`.
pub async fn standing(c: &Session, ids: &[DocumentId]) -> Result<Vec<Document>, Failure> {
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = c
        .all(
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

/// Who may read those of `ids` that are not tombstoned.
pub async fn access(c: &Session, ids: &[DocumentId]) -> Result<Vec<DocumentAccess>, Failure> {
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = c
        .all(
            "select id, acl, acl_revision, published from documents where id = any($1) and status <> 'deleting'",
            &[&uuids],
        )
        .await?;
    let mut acls = ReadTexts::default();
    let of = |row: &Row| {
        let read = |_: &str| acl(row).map(Arc::new);
        Ok(DocumentAccess {
            id: DocumentId(get(row, "id")?),
            acl: acls.get(get(row, "acl")?, read)?,
            acl_revision: number(row, "acl_revision")?,
            published: optional_number(row, "published")?.map(Generation),
        })
    };
    rows.iter().map(of).collect()
}

/// How those of `ids` are named that `scope` admits and that are not tombstoned.
pub async fn labels(c: &Session, scope: &Scope, ids: &[DocumentId]) -> Result<Vec<DocumentLabel>, Failure> {
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = c
        .all(
            "select id, acl, coalesce(given_title, published_title, name) as title, uri, source_url from documents
             where id = any($1) and status <> 'deleting'",
            &[&uuids],
        )
        .await?;
    let mut labels = Vec::with_capacity(rows.len());
    for row in &rows {
        if scope.admits(&acl(row)?) {
            labels.push(DocumentLabel {
                id: DocumentId(get(row, "id")?),
                title: get(row, "title")?,
                uri: get(row, "uri")?,
                source_url: SourceUrl::of_text(get::<Option<&str>>(row, "source_url")?),
            });
        }
    }
    Ok(labels)
}
