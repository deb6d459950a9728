//! `GET /api/v1/jobs`: the jobs of the documents that the caller may read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::document::{JobKind, JobState};
use ragstone_core::id::{DocumentId, JobId};
use ragstone_core::seam::catalogue::{JobFilter, PageRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::RouterState;
use crate::http::auth::RequireReader;
use crate::http::body::JobBody;
use crate::http::extract::{Query, page_request};
use crate::http::list;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::BadQuery, Code::BadCursor, Code::CatalogueUnavailable];

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct JobListParameters {
    /// The `next_cursor` of the previous page; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of jobs per page, 1 to 1,000. Default: 50.
    limit: Option<usize>,
    /// Only jobs in this state: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[param(value_type = Option<String>)]
    state: Option<JobState>,
    /// Only jobs of this kind: `ingest`, `purge` or `batch`.
    #[param(value_type = Option<String>)]
    kind: Option<JobKind>,
    /// Only jobs of this batch.
    parent: Option<Uuid>,
    /// Only jobs of this document.
    document: Option<Uuid>,
}

/// A page of the list of jobs.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct JobList {
    /// The jobs, newest first.
    jobs: Vec<JobBody>,
    /// Cursor of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// Lists the jobs of the documents that the caller may read, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(JobListParameters),
    responses((status = 200, description = "A page of jobs.", body = JobList)))]
pub(in crate::http) async fn list_jobs(
    State(app): State<Arc<RouterState>>,
    RequireReader(principal): RequireReader,
    Query(parameters): Query<JobListParameters>,
) -> Result<Json<JobList>, ApiProblem> {
    let filter = JobFilter {
        state: parameters.state,
        kind: parameters.kind,
        parent: parameters.parent.map(JobId),
        document: parameters.document.map(DocumentId),
    };
    let request = page_request(parameters.cursor, parameters.limit);
    let scope = principal.scope();
    let fetch = |step: PageRequest| {
        let (catalogue, scope, filter) = (&app.catalogue, &scope, &filter);
        async move {
            catalogue
                .list_jobs(scope, filter, &step)
                .await
                .map_err(ApiProblem::from)
        }
    };
    let most_bytes = app.settings.list_bytes;
    let (jobs, next_cursor) = list::fill_page(request, most_bytes, fetch, JobBody::from).await?;
    Ok(Json(JobList { jobs, next_cursor }))
}
