//! The operator channel: the API, and routes that only the owner of the data directory may use.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ragstone_core::document::Job;
use ragstone_core::id::JobId;
use ragstone_core::ingest::UploadSharing;
use ragstone_core::ingest::fsck::RepairOptions;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::vectors::EmbedderManager;
use crate::http::{FailureNote, OperatorChannel};

/// Combines the API with the operator's own routes; both are served on the operator channel only.
pub fn operator_router(api: Router, own: Router) -> Router {
    api.merge(own).layer(axum::Extension(OperatorChannel))
}

/// The operator's routes for the index and for consistency checks.
pub fn index_router(vectors: Arc<EmbedderManager>) -> Router {
    Router::new()
        .route("/operator/v1/index", get(get_index_status))
        .route("/operator/v1/index/rebuild", post(rebuild_index))
        .route("/operator/v1/fsck", post(run_fsck))
        .route("/operator/v1/jobs/{id}", get(get_job))
        .with_state(vectors)
}

/// Serves other processes of the same user at the socket `path`.
pub fn serve_socket(path: &FilePath, router: Router) -> anyhow::Result<JoinHandle<()>> {
    // This process holds the lock, so the process that made the socket is gone.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "the socket of the data directory failed");
        }
    }))
}

/// What to do about the findings of `fsck`.
#[derive(Deserialize)]
struct FsckRequest {
    repair: bool,
    older_than_seconds: u64,
    #[serde(default)]
    allow_many: bool,
}

async fn run_fsck(State(vectors): State<Arc<EmbedderManager>>, Json(request): Json<FsckRequest>) -> Response {
    let remedies = match request.repair {
        true => RepairOptions {
            allow_many: request.allow_many,
            ..RepairOptions::repair_all(Duration::from_secs(request.older_than_seconds))
        },
        false => RepairOptions::default(),
    };
    let uploads = match vectors.shared {
        true => UploadSharing::Shared,
        false => UploadSharing::Exclusive,
    };
    let report = vectors.ingestor.consistency().run_fsck(remedies, uploads).await;
    if report.as_ref().is_ok_and(|report| !report.jobs.is_empty()) {
        (vectors.notify_workers)();
    }
    json_reply("fsck_failed", report.map_err(Into::into))
}

async fn get_index_status(State(vectors): State<Arc<EmbedderManager>>) -> Response {
    json_reply("index_failed", vectors.index_status().await)
}

async fn rebuild_index(State(vectors): State<Arc<EmbedderManager>>) -> Response {
    json_reply(
        "index_failed",
        vectors.rebuild_index().await.map(|jobs| json!({ "jobs": jobs })),
    )
}

/// State of a rebuild's job for one document, of any tenant.
async fn get_job(State(vectors): State<Arc<EmbedderManager>>, Path(id): Path<Uuid>) -> Response {
    let shown = |job: Job| json!({ "state": job.state, "document_id": job.document_id, "error": job.error });
    match vectors.find_job(JobId(id)).await {
        Ok(None) => problem_reply(StatusCode::NOT_FOUND, "not_found", "no such job".into()),
        found => json_reply("index_failed", found.map(|job| job.map(shown))),
    }
}

pub(super) fn json_reply(code: &str, result: anyhow::Result<impl Serialize>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            let detail = format!("{error:#}");
            problem_reply(StatusCode::INTERNAL_SERVER_ERROR, code, detail)
        }
    }
}

pub(super) fn problem_reply(status: StatusCode, code: &str, detail: String) -> Response {
    let problem = json!({ "status": status.as_u16(), "code": code, "detail": detail });
    let note = FailureNote {
        code: code.to_owned(),
        cause: Some(detail),
    };
    (status, axum::Extension(note), Json(problem)).into_response()
}
