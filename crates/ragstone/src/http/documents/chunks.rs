//! `GET /api/v1/documents/{id}/chunks`: the chunks of the published version.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::access::Admitted;
use ragstone_core::document::Chunk;
use ragstone_core::seam::catalogue::PageRequest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::RouterState;
use crate::http::auth::RequireReader;
use crate::http::extract::{Path, Query, page_request, parse_id};
use crate::http::list;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::NotFound,
    Code::BadQuery,
    Code::BadCursor,
    Code::CatalogueUnavailable,
    Code::IndexUnavailable,
];

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ChunkListParameters {
    /// The `next_cursor` of the previous page; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of chunks per page, 1 to 1,000. Default: 50.
    limit: Option<usize>,
}

/// A chunk of a document.
#[derive(Serialize, ToSchema)]
#[schema(as = Chunk)]
pub(in crate::http) struct ChunkBody {
    /// Id of the chunk.
    id: Uuid,
    /// Position in the document, from 0.
    ordinal: u32,
    /// Text of the chunk.
    text: String,
    /// Page, from 1; null if the format has no pages.
    page: Option<u32>,
    /// Heading path, such as `Setup > Linux`; null if there is none.
    section: Option<String>,
    /// Start and end, as byte offsets in the document's UTF-8 text.
    range: [usize; 2],
}

impl From<Chunk> for ChunkBody {
    fn from(chunk: Chunk) -> Self {
        Self {
            id: chunk.id.0,
            ordinal: chunk.ordinal,
            text: chunk.text,
            page: chunk.page,
            section: chunk.section,
            range: [chunk.range.start, chunk.range.end],
        }
    }
}

/// A page of the list of chunks.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ChunkList {
    /// The chunks, in document order.
    chunks: Vec<ChunkBody>,
    /// Cursor of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// Lists the chunks of a document's published version, in document order.
#[utoipa::path(get, path = "/api/v1/documents/{id}/chunks", tag = "documents",
    params(("id" = Uuid, Path), ChunkListParameters), responses((status = 200, description = "A page of chunks.", body = ChunkList)))]
pub(in crate::http) async fn list_chunks(
    State(app): State<Arc<RouterState>>,
    RequireReader(principal): RequireReader,
    Path(document): Path<String>,
    Query(parameters): Query<ChunkListParameters>,
) -> Result<Json<ChunkList>, ApiProblem> {
    let (scope, document) = (principal.scope(), parse_id("document", &document)?);
    let request = page_request(parameters.cursor, parameters.limit);
    let fetch = |step: PageRequest| {
        let (library, scope) = (&app.library, &scope);
        async move {
            let found = library.list_chunks(scope, document, &step).await?;
            found.ok_or_else(|| ApiProblem::not_found("document"))
        }
    };
    let body = |chunk: Admitted<Chunk>| ChunkBody::from(chunk.into_inner());
    let (chunks, next_cursor) = list::fill_page(request, app.settings.list_bytes, fetch, body).await?;
    Ok(Json(ChunkList { chunks, next_cursor }))
}
