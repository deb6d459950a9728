//! `GET /api/v1/jobs/{id}`: one job with its progress.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::http::RouterState;
use crate::http::auth::RequireReader;
use crate::http::body::JobBody;
use crate::http::extract::{Path, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable];

/// Returns a job of a document that the caller may read.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The job.", body = JobBody)))]
pub(in crate::http) async fn get_job(
    State(app): State<Arc<RouterState>>,
    RequireReader(principal): RequireReader,
    Path(job): Path<String>,
) -> Result<Json<JobBody>, ApiProblem> {
    let found = app
        .catalogue
        .get_job(&principal.scope(), parse_id("job", &job)?)
        .await?;
    found
        .map(|job| Json(job.into()))
        .ok_or_else(|| ApiProblem::not_found("job"))
}
