//! `GET /api/v1/documents/{id}`: one document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::http::RouterState;
use crate::http::auth::RequireReader;
use crate::http::body::DocumentBody;
use crate::http::extract::{Path, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable];

/// Returns one document, without its text.
#[utoipa::path(get, path = "/api/v1/documents/{id}", tag = "documents", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The document.", body = DocumentBody)))]
pub(in crate::http) async fn get_document(
    State(app): State<Arc<RouterState>>,
    RequireReader(principal): RequireReader,
    Path(document): Path<String>,
) -> Result<Json<DocumentBody>, ApiProblem> {
    let found = app
        .library
        .get_document(&principal.scope(), parse_id("document", &document)?)
        .await?;
    found
        .map(|document| Json(document.into()))
        .ok_or_else(|| ApiProblem::not_found("document"))
}
