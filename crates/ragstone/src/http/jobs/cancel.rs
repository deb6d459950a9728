//! `DELETE /api/v1/jobs/{id}`: cancels a job that has not ended.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::document::JobState;

use crate::http::RouterState;
use crate::http::auth::RequireWriter;
use crate::http::body::JobBody;
use crate::http::extract::{Path, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::NotFound,
    Code::JobFinal,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// Cancels a job. If it was cancelled before, the response is the same.
#[utoipa::path(delete, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The job.", body = JobBody)))]
pub(in crate::http) async fn cancel_job(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    Path(job): Path<String>,
) -> Result<Json<JobBody>, ApiProblem> {
    let job = app
        .catalogue
        .cancel_job(&principal.scope(), parse_id("job", &job)?, (app.clock)())
        .await?;
    let job = job.ok_or_else(|| ApiProblem::not_found("job"))?;
    if job.state != JobState::Cancelled {
        let detail = format!("the job has ended: {:?}", job.state).to_lowercase();
        return Err(ApiProblem::new(Code::JobFinal, detail));
    }
    // An error only means that no stream listens to job events.
    let _ = app.job_events.send(job.id);
    Ok(Json(job.into()))
}
