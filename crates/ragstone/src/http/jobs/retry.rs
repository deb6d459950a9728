//! `POST /api/v1/jobs/{id}/retry`: takes a job out of the dead letter.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ragstone_core::seam::catalogue::Redriven;

use crate::http::App;
use crate::http::auth::Writer;
use crate::http::body::JobBody;
use crate::http::extract::id;
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::NotFound,
    Code::JobNotFailed,
    Code::JobSuperseded,
    Code::CatalogueUnavailable,
];

/// Tries a job that failed or was cancelled again, its attempts counted anew; of a batch, every such child.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 202, body = JobBody)))]
pub(in crate::http) async fn retry(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    Path(job): Path<String>,
) -> Result<(StatusCode, Json<JobBody>), Problem> {
    let redriven = app
        .catalogue
        .redrive(&principal.scope(), id("job", &job)?, (app.clock)())
        .await?;
    match redriven.ok_or_else(|| Problem::not_found("job"))? {
        Redriven::Queued(job) => {
            (app.doorbell)();
            // Nobody listens is no error.
            let _ = app.job_events.send(job.id);
            Ok((StatusCode::ACCEPTED, Json(job.into())))
        }
        Redriven::NotEnded(job) => {
            let detail = format!("the job is {:?}", job.state).to_lowercase();
            Err(Problem::new(Code::JobNotFailed, detail))
        }
        Redriven::Superseded(_) => Err(Problem::new(
            Code::JobSuperseded,
            "the job's document was begun again or deleted since",
        )),
    }
}
