//! `DELETE /api/v1/sources/{id}`: a source and its documents.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::{SourceBody, managed};
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::extract::Path;
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable, Code::StorageFull];

/// Removes a source and deletes its documents: they are invisible from the moment of the answer, jobs remove the rest.
#[utoipa::path(delete, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = Uuid, Path)),
    responses((status = 200, body = SourceBody)))]
pub(in crate::http) async fn remove(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    Path(source): Path<String>,
) -> Result<Json<SourceBody>, Problem> {
    let record = managed(&app, &principal, &source).await?;
    app.syncer.remove(&record.tenant, record.id).await?;
    Ok(Json(SourceBody::of(record, &app).await?))
}
