//! `DELETE /api/v1/documents/{id}`: deletes a document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::changeable::load_changeable_document;
use crate::http::RouterState;
use crate::http::auth::RequireWriter;
use crate::http::body::JobBody;
use crate::http::extract::{Path, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::NotFound,
    Code::WriteRefused,
    Code::SourceDocument,
    Code::MailDocument,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// The job that a deletion started.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DeleteResponse {
    /// The job that removes the remaining data.
    job: JobBody,
}

/// Deletes a document. It is invisible as soon as the response is sent; a job removes its data.
///
/// Allowed for a caller who may grant every reader of the document, or who uploaded it. A document of a source cannot
/// be deleted here but only in the source, and a file in a mail only with the mail.
#[utoipa::path(delete, path = "/api/v1/documents/{id}", tag = "documents", params(("id" = Uuid, Path)),
    responses((status = 202, description = "Invisible from now on; the job removes what is left.", body = DeleteResponse)))]
pub(in crate::http) async fn delete_document(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    Path(document): Path<String>,
) -> Result<(StatusCode, Json<DeleteResponse>), ApiProblem> {
    let document = load_changeable_document(&app, &principal, parse_id("document", &document)?).await?;
    let job = app.ingestor.uploads().delete_document(&principal, document.id).await?;
    let job = job.ok_or_else(|| ApiProblem::not_found("document"))?;
    (app.notify_workers)();
    Ok((StatusCode::ACCEPTED, Json(DeleteResponse { job: job.into() })))
}
