//! The local operator's door: the API, and what only whoever has the data directory may do.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::vectors::Vectors;
use crate::http::OperatorDoor;

/// The API with the operator's own routes.
pub fn operator_router(api: Router, vectors: Arc<Vectors>) -> Router {
    let own = Router::new()
        .route("/operator/v1/index", get(index_status))
        .route("/operator/v1/index/rebuild", post(index_rebuild))
        .with_state(vectors);
    api.merge(own).layer(axum::Extension(OperatorDoor))
}

async fn index_status(State(vectors): State<Arc<Vectors>>) -> Response {
    reply(vectors.status().await)
}

async fn index_rebuild(State(vectors): State<Arc<Vectors>>) -> Response {
    reply(vectors.rebuild().await.map(|jobs| json!({ "jobs": jobs })))
}

fn reply(result: anyhow::Result<serde_json::Value>) -> Response {
    match result {
        Ok(value) => axum::Json(value).into_response(),
        Err(error) => {
            let problem = json!({ "status": 500, "code": "index_failed", "detail": format!("{error:#}") });
            (axum::http::StatusCode::INTERNAL_SERVER_ERROR, axum::Json(problem)).into_response()
        }
    }
}
