//! `GET /api/v1/documents/{id}/pages/{n}`: the text of a page.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::auth::Reader;
use crate::http::extract::{Path, id};
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable];

/// A page of a document.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
pub(in crate::http) struct PageBody {
    /// From 1.
    page: u32,
    text: String,
}

/// The text of a page of the published version, as the parser saw it.
#[utoipa::path(get, path = "/api/v1/documents/{id}/pages/{page}", tag = "documents",
    params(("id" = Uuid, Path), ("page" = u32, Path)), responses((status = 200, body = PageBody)))]
pub(in crate::http) async fn page(
    State(app): State<Arc<App>>,
    Reader(principal): Reader,
    Path((document, page)): Path<(String, String)>,
) -> Result<Json<PageBody>, Problem> {
    let (document, page) = (id("document", &document)?, id("page", &page)?);
    let text = app.library.page(&principal.scope(), document, page).await?;
    let text = text.ok_or_else(|| Problem::not_found("page"))?.into_inner();
    Ok(Json(PageBody { page, text }))
}
