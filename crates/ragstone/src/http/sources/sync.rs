//! `POST /api/v1/sources/{id}/sync`: now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::{SourceBody, managed};
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::extract::Path;
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::SourceBusy, Code::CatalogueUnavailable];

/// Begins to sync a source; `running` and `last_sync` of the source tell how it goes. A paused one is synced too.
#[utoipa::path(post, path = "/api/v1/sources/{id}/sync", tag = "sources", params(("id" = Uuid, Path)),
    responses((status = 202, body = SourceBody)))]
pub(in crate::http) async fn sync(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    Path(source): Path<String>,
) -> Result<(StatusCode, Json<SourceBody>), Problem> {
    let record = managed(&app, &principal, &source).await?;
    let turn = app.syncer.turn(record.id).await?;
    let (tenant, id) = (record.tenant.clone(), record.id);
    tokio::spawn(async move {
        if let Err(error) = turn.sync(&tenant).await {
            tracing::warn!(source = %id, %error, "a sync was not carried out");
        }
    });
    Ok((StatusCode::ACCEPTED, Json(SourceBody::of(record, &app))))
}
