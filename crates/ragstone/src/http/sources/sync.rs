//! `POST /api/v1/sources/{id}/sync`: starts a sync.

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

/// Options of a sync.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields, default)]
#[schema(as = SyncRequest)]
pub(in crate::http) struct SyncSourceRequest {
    /// Whether to delete all documents that the source no longer has. Otherwise a sync that would delete unusually many
    /// (more than the setting `sync.max_deleted_share` and more than ten, or all of them) deletes nothing and ends in
    /// the state `held`. If the source could not be listed completely, nothing is deleted in either case. Default:
    /// false.
    allow_deletions: bool,
}

/// Starts a sync of a source, even if it is paused.
///
/// `running` and `last_sync` of the source show the progress. The body may be omitted.
#[utoipa::path(post, path = "/api/v1/sources/{id}/sync", tag = "sources", params(("id" = Uuid, Path)),
    request_body = Option<SyncSourceRequest>, responses((status = 202, description = "The source; its sync has begun.", body = SourceBody)))]
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
