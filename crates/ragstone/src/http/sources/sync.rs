//! `POST /api/v1/sources/{id}/sync`: now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ragstone_core::sync::DeletionPolicy;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{SourceBody, find_managed};
use crate::http::RouterState;
use crate::http::auth::RequireWriter;
use crate::http::extract::{OptionalJson, Path};
use crate::http::problem::{ApiProblem, Code};

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
pub(in crate::http) struct SyncSourceRequest {
    /// Whether everything that is missing from the source is deleted. Unless it is, a sync that would delete unusually much
    /// (more than the setting `sync.max_deleted_share` and more than ten documents, or all of them) deletes nothing and ends
    /// in the state `held`. A source that could not be listed deletes nothing in any case.
    allow_deletions: bool,
}

/// Begins to sync a source; `running` and `last_sync` of the source tell how it goes. A paused one is synced too. The body may
/// be left out.
#[utoipa::path(post, path = "/api/v1/sources/{id}/sync", tag = "sources", params(("id" = Uuid, Path)),
    request_body = Option<SyncSourceRequest>, responses((status = 202, body = SourceBody)))]
pub(in crate::http) async fn sync_source(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    Path(source): Path<String>,
    OptionalJson(wanted): OptionalJson<SyncSourceRequest>,
) -> Result<(StatusCode, Json<SourceBody>), ApiProblem> {
    let record = find_managed(&app, &principal, &source).await?;
    let turn = app.syncer.acquire_permit(record.id).await?;
    let (tenant, id) = (record.tenant.clone(), record.id);
    let deletions = match wanted.allow_deletions {
        true => DeletionPolicy::Allowed,
        false => DeletionPolicy::Guarded,
    };
    tokio::spawn(async move {
        if let Err(error) = turn.run_sync_with(&tenant, deletions).await {
            tracing::warn!(source = %id, %error, "a sync was not carried out");
        }
    });
    Ok((StatusCode::ACCEPTED, Json(SourceBody::from_record(record, &app).await?)))
}
