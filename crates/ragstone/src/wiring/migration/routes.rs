//! The operator's routes for changing the embedding model.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::super::routes::{json_reply, problem_reply};
use super::record::{QualityGate, TargetModel};
use super::{MigrationStatus, ModelMigration};

/// Largest request, in bytes: a set's questions.
const MAX_BODY_BYTES: usize = 64 << 20;
/// Problem code of a failure.
const FAILED: &str = "migration_failed";

/// The routes; they are mounted on the operator channel only.
pub fn migration_router(migration: Arc<ModelMigration>) -> Router {
    Router::new()
        .route(
            "/operator/v1/migration",
            get(get_migration_status).post(begin_migration),
        )
        .route("/operator/v1/migration/rollback", post(roll_back_migration))
        .route("/operator/v1/migration/abort", post(abort_migration))
        .route("/operator/v1/migration/finish", post(finish_migration))
        .with_state(migration)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

#[derive(Deserialize)]
struct BeginMigrationRequest {
    to: TargetModel,
    gate: Option<QualityGate>,
}

type MigrationState = State<Arc<ModelMigration>>;

async fn get_migration_status(State(app): MigrationState) -> Response {
    json_reply(FAILED, app.current_status().await)
}

async fn begin_migration(State(app): MigrationState, Json(begin): Json<BeginMigrationRequest>) -> Response {
    reply_when_done(async move { app.begin_migration(begin.to, begin.gate).await }).await
}

async fn roll_back_migration(State(app): MigrationState) -> Response {
    reply_when_done(async move { app.roll_back_migration().await }).await
}

async fn abort_migration(State(app): MigrationState) -> Response {
    reply_when_done(async move { app.abort_migration().await }).await
}

async fn finish_migration(State(app): MigrationState) -> Response {
    reply_when_done(async move { app.finish_migration().await }).await
}

/// Answers with the status when `work` is done, or with its error. The work continues if the caller disconnects.
async fn reply_when_done(work: impl Future<Output = anyhow::Result<MigrationStatus>> + Send + 'static) -> Response {
    match tokio::spawn(work).await.unwrap_or_else(|ended| Err(ended.into())) {
        Ok(status) => json_reply(FAILED, Ok(status)),
        Err(error) => problem_reply(StatusCode::CONFLICT, FAILED, format!("{error:#}")),
    }
}
