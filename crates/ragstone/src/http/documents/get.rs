//! `GET /api/v1/documents/{id}`: one document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::http::App;
use crate::http::auth::Reader;
use crate::http::body::DocumentBody;
use crate::http::extract::{Path, id};
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable];

/// One document.
#[utoipa::path(get, path = "/api/v1/documents/{id}", tag = "documents", params(("id" = Uuid, Path)),
    responses((status = 200, body = DocumentBody)))]
pub(in crate::http) async fn get(
    State(app): State<Arc<App>>,
    Reader(principal): Reader,
    Path(document): Path<String>,
) -> Result<Json<DocumentBody>, Problem> {
    let found = app
        .library
        .document(&principal.scope(), id("document", &document)?)
        .await?;
    found
        .map(|document| Json(document.into()))
        .ok_or_else(|| Problem::not_found("document"))
}
