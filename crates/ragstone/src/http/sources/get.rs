//! `GET /api/v1/sources/{id}`: one source with the result of its last sync.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::{SourceBody, find_managed};
use crate::http::RouterState;
use crate::http::auth::RequireWriter;
use crate::http::extract::Path;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable];

/// Returns a source that the caller manages, with the result of its last sync.
#[utoipa::path(get, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The source, as it is now.", body = SourceBody)))]
pub(in crate::http) async fn get_source(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    Path(source): Path<String>,
) -> Result<Json<SourceBody>, ApiProblem> {
    let record = find_managed(&app, &principal, &source).await?;
    Ok(Json(SourceBody::from_record(record, &app).await?))
}
