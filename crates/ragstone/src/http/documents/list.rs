//! `GET /api/v1/documents`: the documents that the caller may read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::document::DocumentStatus;
use ragstone_core::id::{CollectionName, SourceName};
use ragstone_core::seam::catalogue::{DocumentFilter, PageRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::RouterState;
use crate::http::auth::RequireReader;
use crate::http::body::DocumentBody;
use crate::http::extract::{Query, page_request};
use crate::http::list;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::BadQuery, Code::BadCursor, Code::CatalogueUnavailable];

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DocumentListParameters {
    /// The `next_cursor` of the previous page; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of documents per page, 1 to 1,000. Default: 50.
    limit: Option<usize>,
    /// Only the documents with exactly this URI.
    uri: Option<String>,
    /// Only documents of this source.
    #[param(value_type = Option<String>)]
    source: Option<SourceName>,
    /// Only documents of this collection.
    #[param(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// Only documents in this state: `pending`, `published` or `failed`.
    #[param(value_type = Option<String>)]
    status: Option<DocumentStatus>,
}

/// A page of the list of documents.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DocumentList {
    /// The documents, oldest first.
    documents: Vec<DocumentBody>,
    /// Cursor of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// Lists the documents that the caller may read, oldest first.
#[utoipa::path(get, path = "/api/v1/documents", tag = "documents", params(DocumentListParameters),
    responses((status = 200, description = "A page of documents.", body = DocumentList)))]
pub(in crate::http) async fn list_documents(
    State(app): State<Arc<RouterState>>,
    RequireReader(principal): RequireReader,
    Query(parameters): Query<DocumentListParameters>,
) -> Result<Json<DocumentList>, ApiProblem> {
    let filter = DocumentFilter {
        uri: parameters.uri,
        source: parameters.source,
        collection: parameters.collection,
        status: parameters.status,
        made_by: None,
        not_made_by: None,
    };
    let request = page_request(parameters.cursor, parameters.limit);
    let scope = principal.scope();
    let fetch = |step: PageRequest| {
        let (library, scope, filter) = (&app.library, &scope, &filter);
        async move {
            library
                .list_documents(scope, filter, &step)
                .await
                .map_err(ApiProblem::from)
        }
    };
    let most_bytes = app.settings.list_bytes;
    let (documents, next_cursor) = list::fill_page(request, most_bytes, fetch, DocumentBody::from).await?;
    Ok(Json(DocumentList { documents, next_cursor }))
}
