//! `GET /api/v1/documents/{id}/pages/{page}`: the text of one page.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::RouterState;
use crate::http::auth::RequireReader;
use crate::http::extract::{Path, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable];

/// The text of one page of a document.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
pub(in crate::http) struct PageBody {
    /// Page number, from 1.
    page: u32,
    /// Text of the page.
    text: String,
}

/// Returns the text of one page of the published version, as the parser extracted it. Pages count from 1.
#[utoipa::path(get, path = "/api/v1/documents/{id}/pages/{page}", tag = "documents",
    params(("id" = Uuid, Path), ("page" = u32, Path)), responses((status = 200, description = "The text of the page.", body = PageBody)))]
pub(in crate::http) async fn get_document_page(
    State(app): State<Arc<RouterState>>,
    RequireReader(principal): RequireReader,
    Path((document, page)): Path<(String, String)>,
) -> Result<Json<PageBody>, ApiProblem> {
    let (document, page) = (parse_id("document", &document)?, parse_id("page", &page)?);
    let text = app.library.read_page(&principal.scope(), document, page).await?;
    let text = text.ok_or_else(|| ApiProblem::not_found("page"))?.into_inner();
    Ok(Json(PageBody { page, text }))
}
