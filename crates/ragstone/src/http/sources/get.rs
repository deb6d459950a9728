//! `GET /api/v1/sources/{id}`: a source and how its last sync went.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::{SourceBody, managed};
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::extract::Path;
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable];

/// A source that the caller manages.
#[utoipa::path(get, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = Uuid, Path)),
    responses((status = 200, body = SourceBody)))]
pub(in crate::http) async fn get(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    Path(source): Path<String>,
) -> Result<Json<SourceBody>, Problem> {
    let record = managed(&app, &principal, &source).await?;
    Ok(Json(SourceBody::of(record, &app).await?))
}
