//! `POST /api/v1/jobs/{id}/retry`: queues a failed or cancelled job again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ragstone_core::seam::catalogue::RequeueOutcome;

use crate::http::RouterState;
use crate::http::auth::RequireWriter;
use crate::http::body::JobBody;
use crate::http::extract::parse_id;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::NotFound,
    Code::JobNotFailed,
    Code::JobSuperseded,
    Code::CatalogueUnavailable,
];

/// Retries a job that failed or was cancelled, with its attempts reset to 0. For a batch, retries each of its jobs that
/// did.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 202, description = "The job is queued again.", body = JobBody)))]
pub(in crate::http) async fn retry_job(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    Path(job): Path<String>,
) -> Result<(StatusCode, Json<JobBody>), ApiProblem> {
    let redriven = app
        .catalogue
        .requeue_job(&principal.scope(), parse_id("job", &job)?, (app.clock)())
        .await?;
    match redriven.ok_or_else(|| ApiProblem::not_found("job"))? {
        RequeueOutcome::Queued(job) => {
            (app.notify_workers)();
            // An error only means that no stream listens to job events.
            let _ = app.job_events.send(job.id);
            Ok((StatusCode::ACCEPTED, Json(job.into())))
        }
        RequeueOutcome::NotEnded(job) => {
            let detail = format!("the job is {:?}", job.state).to_lowercase();
            Err(ApiProblem::new(Code::JobNotFailed, detail))
        }
        RequeueOutcome::Superseded(_) => Err(ApiProblem::new(
            Code::JobSuperseded,
            "the job's document was begun again or deleted since",
        )),
    }
}
