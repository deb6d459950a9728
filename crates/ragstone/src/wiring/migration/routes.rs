//! The operator's routes of a change of the model.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::super::routes::{problem, reply};
use super::record::{Gate, Target};
use super::{Migration, Status};

/// Bytes of a request: a set's questions.
const MAX_BODY_BYTES: usize = 64 << 20;
/// What a failure is called.
const FAILED: &str = "migration_failed";

/// The routes; only the operator's door has them.
pub fn router(migration: Arc<Migration>) -> Router {
    Router::new()
        .route("/operator/v1/migration", get(status).post(begin))
        .route("/operator/v1/migration/rollback", post(roll_back))
        .route("/operator/v1/migration/abort", post(abort))
        .route("/operator/v1/migration/finish", post(finish))
        .with_state(migration)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

#[derive(Deserialize)]
struct Begin {
    to: Target,
    gate: Option<Gate>,
}

type App = State<Arc<Migration>>;

async fn status(State(app): App) -> Response {
    reply(FAILED, app.status().await)
}

async fn begin(State(app): App, Json(begin): Json<Begin>) -> Response {
    told(async move { app.begin(begin.to, begin.gate).await }).await
}

async fn roll_back(State(app): App) -> Response {
    told(async move { app.roll_back().await }).await
}

async fn abort(State(app): App) -> Response {
    told(async move { app.abort().await }).await
}

async fn finish(State(app): App) -> Response {
    told(async move { app.finish().await }).await
}

/// How it stands when that is done, or why it was not. It goes on to its end if the caller leaves.
async fn told(work: impl Future<Output = anyhow::Result<Status>> + Send + 'static) -> Response {
    match tokio::spawn(work).await.unwrap_or_else(|ended| Err(ended.into())) {
        Ok(status) => reply(FAILED, Ok(status)),
        Err(error) => problem(StatusCode::CONFLICT, FAILED, format!("{error:#}")),
    }
}
