//! `DELETE /api/v1/sources/{id}`: deletes a source with its documents.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::{SourceBody, find_managed};
use crate::http::RouterState;
use crate::http::auth::RequireWriter;
use crate::http::extract::Path;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable, Code::StorageFull];

/// Deletes a source and its documents.
///
/// The documents are invisible as soon as the response is sent; jobs remove their data.
#[utoipa::path(delete, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The source, as it is now.", body = SourceBody)))]
pub(in crate::http) async fn delete_source(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    Path(source): Path<String>,
) -> Result<Json<SourceBody>, ApiProblem> {
    let record = find_managed(&app, &principal, &source).await?;
    app.syncer.remove_source(&record.tenant, record.id).await?;
    Ok(Json(SourceBody::from_record(record, &app).await?))
}
