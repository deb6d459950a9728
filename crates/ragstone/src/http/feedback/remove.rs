//! `DELETE /api/v1/feedback/{trace_id}`: deletes a kept answer with its feedback.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use ragstone_core::access::Role;
use ragstone_core::id::TraceId;

use super::unknown_answer;
use crate::http::RouterState;
use crate::http::auth::RequireReader;
use crate::http::extract::{Path, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable, Code::StorageFull];

/// Deletes a kept answer with its feedback.
///
/// Allowed for the asker and for administrators.
#[utoipa::path(delete, path = "/api/v1/feedback/{trace_id}", tag = "feedback",
    params(("trace_id" = Uuid, Path)), responses((status = 204, description = "Deleted.")))]
pub(in crate::http) async fn delete_feedback(
    State(app): State<Arc<RouterState>>,
    RequireReader(caller): RequireReader,
    Path(trace): Path<String>,
) -> Result<StatusCode, ApiProblem> {
    let trace_id: TraceId = parse_id("answer", &trace)?;
    let subject = (caller.role() != Role::Admin).then(|| caller.subject());
    match app.feedback.remove_answer(caller.tenant(), subject, trace_id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown_answer()),
    }
}
