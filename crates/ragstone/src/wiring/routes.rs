//! The local operator's door: the API, and what only whoever has the data directory may do.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ragstone_core::id::JobId;
use serde_json::json;
use uuid::Uuid;

use super::vectors::Vectors;
use crate::http::OperatorDoor;

/// The API with the operator's own routes.
pub fn operator_router(api: Router, vectors: Arc<Vectors>) -> Router {
    let own = Router::new()
        .route("/operator/v1/index", get(index_status))
        .route("/operator/v1/index/rebuild", post(index_rebuild))
        .route("/operator/v1/jobs/{id}", get(job))
        .with_state(vectors);
    api.merge(own).layer(axum::Extension(OperatorDoor))
}

async fn index_status(State(vectors): State<Arc<Vectors>>) -> Response {
    reply(vectors.status().await)
}

async fn index_rebuild(State(vectors): State<Arc<Vectors>>) -> Response {
    reply(vectors.rebuild().await.map(|jobs| json!({ "jobs": jobs })))
}

/// How far a rebuild is with one document, of whatever tenant.
async fn job(State(vectors): State<Arc<Vectors>>, Path(id): Path<Uuid>) -> Response {
    match vectors.job(JobId(id)).await {
        Ok(None) => problem(StatusCode::NOT_FOUND, "not_found", "no such job".into()),
        found => reply(found.map(|found| {
            found
                .map(|job| json!({ "state": job.state, "document_id": job.document_id, "error": job.error }))
                .into()
        })),
    }
}

fn reply(result: anyhow::Result<serde_json::Value>) -> Response {
    match result {
        Ok(value) => axum::Json(value).into_response(),
        Err(error) => {
            let detail = format!("{error:#}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "index_failed", detail)
        }
    }
}

fn problem(status: StatusCode, code: &str, detail: String) -> Response {
    let problem = json!({ "status": status.as_u16(), "code": code, "detail": detail });
    (status, axum::Json(problem)).into_response()
}
