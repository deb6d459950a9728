//! `GET /api/v1/jobs/{id}`: one job.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::http::App;
use crate::http::auth::Reader;
use crate::http::body::JobBody;
use crate::http::extract::{Path, id};
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable];

/// A job of a document that the caller may read.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, body = JobBody)))]
pub(in crate::http) async fn get(
    State(app): State<Arc<App>>,
    Reader(principal): Reader,
    Path(job): Path<String>,
) -> Result<Json<JobBody>, Problem> {
    let found = app.catalogue.job(&principal.scope(), id("job", &job)?).await?;
    found
        .map(|job| Json(job.into()))
        .ok_or_else(|| Problem::not_found("job"))
}
