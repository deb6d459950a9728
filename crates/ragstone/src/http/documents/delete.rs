//! `DELETE /api/v1/documents/{id}`: from the answer on nothing returns it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::changeable::changeable;
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::body::JobBody;
use crate::http::extract::{Path, id};
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::NotFound,
    Code::WriteRefused,
    Code::SourceDocument,
    Code::MailDocument,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// What a deletion began.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Deleted {
    /// The job that removes everything that is left.
    job: JobBody,
}

/// Deletes a document: it is invisible from the moment of the answer, and a job removes what is left of it. Whoever may
/// grant every reader of the document, or brought it, may delete it; a document of a source goes with what it was made
/// of, and a file in a mail with the mail.
#[utoipa::path(delete, path = "/api/v1/documents/{id}", tag = "documents", params(("id" = Uuid, Path)),
    responses((status = 202, body = Deleted)))]
pub(in crate::http) async fn delete(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    Path(document): Path<String>,
) -> Result<(StatusCode, Json<Deleted>), Problem> {
    let document = changeable(&app, &principal, id("document", &document)?).await?;
    let job = app.ingestor.delete(&principal, document.id).await?;
    let job = job.ok_or_else(|| Problem::not_found("document"))?;
    (app.doorbell)();
    Ok((StatusCode::ACCEPTED, Json(Deleted { job: job.into() })))
}
