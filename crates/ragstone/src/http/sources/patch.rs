//! `PATCH /api/v1/sources/{id}`: schedule, rest, readers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::access::ReaderSet;
use ragstone_core::ingest::Grants;
use ragstone_core::seam::source::SourcePatch;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{SourceBody, checked_schedule, managed};
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::extract::{self, Path};
use crate::http::problem::{Code, Problem};

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

/// Changes; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceChanges)]
pub(in crate::http) struct Changes {
    /// Null ends the schedule.
    #[serde(default, deserialize_with = "extract::present")]
    #[schema(value_type = Option<String>)]
    schedule: Option<Option<String>>,
    /// Whether it rests: no sync by schedule.
    paused: Option<bool>,
    /// Hold for its documents from the next sync on.
    readers: Option<Vec<String>>,
}

/// Changes when a source is synced, and who may read its documents.
#[utoipa::path(patch, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = Uuid, Path)),
    request_body = Changes, responses((status = 200, body = SourceBody)))]
pub(in crate::http) async fn patch(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    Path(source): Path<String>,
    extract::Json(changes): extract::Json<Changes>,
) -> Result<Json<SourceBody>, Problem> {
    let record = managed(&app, &principal, &source).await?;
    let readers = changes.readers.map(|readers| {
        let grants = Grants {
            readers,
            department_id: None,
        };
        grants.acl(&principal, &ReaderSet::new())
    });
    let patch = SourcePatch {
        schedule: changes.schedule.map(checked_schedule).transpose()?,
        paused: changes.paused,
        settings: None,
        readers: readers.transpose()?.and_then(|acl| acl.sets.into_iter().next()),
    };
    let changed = app
        .syncer
        .sources
        .change_source(&record.tenant, record.id, patch)
        .await?;
    let changed = changed.ok_or_else(|| Problem::not_found("source"))?;
    Ok(Json(SourceBody::of(changed, &app).await?))
}
