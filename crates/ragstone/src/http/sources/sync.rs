//! `POST /api/v1/sources/{id}/sync`: now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ragstone_core::sync::Deletions;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{SourceBody, managed};
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::extract::{MaybeJson, Path};
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::NotFound,
    Code::BadJson,
    Code::BadBody,
    Code::MediaType,
    Code::TooLarge,
    Code::SourceBusy,
    Code::CatalogueUnavailable,
];

/// How a source is synced.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields, default)]
#[schema(as = SyncRequest)]
pub(in crate::http) struct Wanted {
    /// Whether everything that is missing from the source is deleted. Unless it is, a sync that would delete unusually much
    /// (more than the setting `sync.max_deleted_share` and more than ten documents, or all of them) deletes nothing and ends
    /// in the state `held`. A source that could not be listed deletes nothing in any case.
    allow_deletions: bool,
}

/// Begins to sync a source; `running` and `last_sync` of the source tell how it goes. A paused one is synced too. The body may
/// be left out.
#[utoipa::path(post, path = "/api/v1/sources/{id}/sync", tag = "sources", params(("id" = Uuid, Path)),
    request_body = Option<Wanted>, responses((status = 202, body = SourceBody)))]
pub(in crate::http) async fn sync(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    Path(source): Path<String>,
    MaybeJson(wanted): MaybeJson<Wanted>,
) -> Result<(StatusCode, Json<SourceBody>), Problem> {
    let record = managed(&app, &principal, &source).await?;
    let turn = app.syncer.turn(record.id).await?;
    let (tenant, id) = (record.tenant.clone(), record.id);
    let deletions = match wanted.allow_deletions {
        true => Deletions::Allowed,
        false => Deletions::Guarded,
    };
    tokio::spawn(async move {
        if let Err(error) = turn.sync_with(&tenant, deletions).await {
            tracing::warn!(source = %id, %error, "a sync was not carried out");
        }
    });
    Ok((StatusCode::ACCEPTED, Json(SourceBody::of(record, &app).await?)))
}
