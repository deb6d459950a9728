//! `PATCH /api/v1/sources/{id}`: changes schedule, pause or readers of a source.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::access::ReaderSet;
use ragstone_core::ingest::GrantRequest;
use ragstone_core::seam::source::SourcePatch;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{SourceBody, check_schedule, find_managed};
use crate::http::RouterState;
use crate::http::auth::RequireWriter;
use crate::http::extract::{self, Path};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::NotFound,
    Code::GrantRefused,
    Code::MediaType,
    Code::TooLarge,
    Code::BadBody,
    Code::BadField,
    Code::BadReader,
    Code::ReadersRequired,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// Changes to a source. A field that is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceChanges)]
pub(in crate::http) struct SourceChanges {
    /// New schedule, a cron expression in UTC; null removes the schedule.
    #[serde(default, deserialize_with = "extract::present")]
    #[schema(value_type = Option<String>)]
    schedule: Option<Option<String>>,
    /// Whether to pause scheduled syncs. Manual syncs still run.
    paused: Option<bool>,
    /// New readers of its documents; they apply from the next sync on.
    readers: Option<Vec<String>>,
}

/// Changes schedule, pause or readers of a source.
#[utoipa::path(patch, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = Uuid, Path)),
    request_body = SourceChanges, responses((status = 200, description = "The source, as it is now.", body = SourceBody)))]
pub(in crate::http) async fn update_source(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    Path(source): Path<String>,
    extract::Json(changes): extract::Json<SourceChanges>,
) -> Result<Json<SourceBody>, ApiProblem> {
    let record = find_managed(&app, &principal, &source).await?;
    let readers = changes.readers.map(|readers| {
        let grants = GrantRequest {
            readers,
            department_id: None,
        };
        grants.build_acl(&principal, &ReaderSet::new())
    });
    let patch = SourcePatch {
        schedule: changes.schedule.map(check_schedule).transpose()?,
        paused: changes.paused,
        settings: None,
        readers: readers.transpose()?.and_then(|acl| acl.sets.into_iter().next()),
    };
    let changed = app
        .syncer
        .sources
        .patch_source(&record.tenant, record.id, patch)
        .await?;
    let changed = changed.ok_or_else(|| ApiProblem::not_found("source"))?;
    Ok(Json(SourceBody::from_record(changed, &app).await?))
}
