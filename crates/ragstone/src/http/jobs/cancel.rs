//! `DELETE /api/v1/jobs/{id}`: stops a job that has not ended.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::document::JobState;

use crate::http::App;
use crate::http::auth::Writer;
use crate::http::body::JobBody;
use crate::http::extract::{Path, id};
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::NotFound,
    Code::JobFinal,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// Cancels a job; a job that was cancelled before is answered alike.
#[utoipa::path(delete, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, body = JobBody)))]
pub(in crate::http) async fn cancel(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    Path(job): Path<String>,
) -> Result<Json<JobBody>, Problem> {
    let job = app
        .catalogue
        .cancel(&principal.scope(), id("job", &job)?, (app.clock)())
        .await?;
    let job = job.ok_or_else(|| Problem::not_found("job"))?;
    if job.state != JobState::Cancelled {
        let detail = format!("the job has ended: {:?}", job.state).to_lowercase();
        return Err(Problem::new(Code::JobFinal, detail));
    }
    // Nobody listens is no error.
    let _ = app.job_events.send(job.id);
    Ok(Json(job.into()))
}
