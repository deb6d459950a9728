//! `GET /healthz` and `GET /readyz`: liveness and readiness.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::RouterState;
use super::problem::{ApiProblem, Code};

pub(super) const READY_PROBLEMS: &[Code] = &[Code::NotReady, Code::ShuttingDown];

/// State of the server's dependencies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReadinessReport {
    /// Whether questions can be answered.
    pub ready: bool,
    /// State of each dependency by name, such as `embedder: fetching`.
    pub dependencies: BTreeMap<String, String>,
}

/// Liveness: 200 while the process runs.
#[utoipa::path(get, path = "/healthz", tag = "operation",
    responses((status = 200, description = "`{\"status\": \"ok\"}`")))]
pub(super) async fn get_health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Readiness: 200 if questions can be answered, else 503. Both list the state of each dependency.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses((status = 200, description = "Ready.", body = ReadinessReport)))]
pub(super) async fn get_readiness(State(app): State<Arc<RouterState>>) -> Result<Json<ReadinessReport>, ApiProblem> {
    let readiness = (app.readiness)();
    match readiness.ready {
        true => Ok(Json(readiness)),
        false => Err(ApiProblem::new(Code::NotReady, describe_not_ready(&readiness))
            .with_extension("ready", json!(false))
            .with_extension("dependencies", json!(readiness.dependencies))),
    }
}

fn describe_not_ready(readiness: &ReadinessReport) -> String {
    let states = readiness
        .dependencies
        .iter()
        .map(|(name, state)| format!("{name}: {state}"));
    states.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::test_app::TestApp;

    #[tokio::test]
    async fn health_answers_anybody_and_names_what_is_not_ready() {
        let app = TestApp::new();
        let foreign = app.get("/healthz").header("host", "evil.example").send().await;
        assert_eq!((foreign.status, foreign.json()["status"].clone()), (200, json!("ok")));
        let ready = app.get("/readyz").send().await;
        assert_eq!((ready.status, ready.json()["ready"].clone()), (200, json!(true)));
        app.readiness.lock().unwrap().ready = false;
        let not_ready = app.get("/readyz").send().await.problem(503, "not_ready");
        assert_eq!(not_ready["dependencies"]["embedder"], "none");
    }
}
