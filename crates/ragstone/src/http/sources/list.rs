//! `GET /api/v1/sources`: the sources that the caller manages.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::seam::catalogue::PageRequest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{SourceBody, is_manager};
use crate::http::RouterState;
use crate::http::auth::RequireWriter;
use crate::http::extract::{Query, page_request};
use crate::http::list::json_length;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::BadQuery, Code::BadCursor, Code::CatalogueUnavailable];

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SourceListParameters {
    /// The `next_cursor` of the previous page; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of sources per page, 1 to 1,000. Default: 50.
    limit: Option<usize>,
}

/// A page of the list of sources.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SourceList {
    /// The sources, by name.
    sources: Vec<SourceBody>,
    /// Cursor of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// Lists the sources that the caller manages, by name.
#[utoipa::path(get, path = "/api/v1/sources", tag = "sources", params(SourceListParameters),
    responses((status = 200, description = "A page of sources.", body = SourceList)))]
pub(in crate::http) async fn list_sources(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    Query(parameters): Query<SourceListParameters>,
) -> Result<Json<SourceList>, ApiProblem> {
    let request = page_request(parameters.cursor, parameters.limit);
    let (mut sources, mut cursor) = (Vec::new(), request.cursor);
    // Fetched one at a time: a cursor names the source before it, and that must be one that the caller may see.
    let mut bytes = 0;
    while sources.len() < request.limit && bytes < app.settings.list_bytes {
        let one = PageRequest { cursor, limit: 1 };
        let found = app.syncer.sources.list_sources(Some(principal.tenant()), &one).await?;
        let shown = found.items.into_iter().filter(|source| is_manager(&principal, source));
        for source in shown {
            let source = SourceBody::from_record(source, &app).await?;
            bytes += json_length(&source);
            sources.push(source);
        }
        cursor = found.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(Json(SourceList {
        sources,
        next_cursor: cursor,
    }))
}
