//! `POST /api/v1/keys/{id}/rotate`: another key with the same rights in its place.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::HttpBody;
use axum::extract::{FromRequest, Request, State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{IssuedKey, managed_tenant};
use crate::http::RouterState;
use crate::http::auth::RequireAdminIdentity;
use crate::http::extract::{self, Path, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::NotFound,
    Code::Conflict,
    Code::KeyEnded,
    Code::MediaType,
    Code::TooLarge,
    Code::BadBody,
    Code::BadField,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// Longest time that the old key holds beside its successor, in seconds: 30 days.
const MAX_GRACE_SECONDS: u64 = 30 * 86_400;

/// How a key is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct KeyRotation {
    /// Seconds for which the old key holds yet, 0 unless said, at most 2,592,000 (30 days).
    #[serde(default)]
    grace_seconds: u64,
}

/// Gives a key a successor with the same name, tenant, role, readers, subject and end. The old one is refused from now on,
/// or when its grace is over. The body may be left out.
#[utoipa::path(post, path = "/api/v1/keys/{id}/rotate", tag = "keys", params(("id" = String, Path)),
    request_body = KeyRotation, responses((status = 200, body = IssuedKey)))]
pub(in crate::http) async fn rotate_key(
    State(app): State<Arc<RouterState>>,
    RequireAdminIdentity(identity): RequireAdminIdentity,
    Path(key): Path<String>,
    request: Request,
) -> Result<Json<IssuedKey>, ApiProblem> {
    let rotation = match request.body().is_end_stream() {
        true => KeyRotation::default(),
        false => extract::Json::from_request(request, &app).await?.0,
    };
    if rotation.grace_seconds > MAX_GRACE_SECONDS {
        let detail = format!("grace_seconds must be 0 to {MAX_GRACE_SECONDS}");
        return Err(ApiProblem::new(Code::BadField, detail).with_pointer("/grace_seconds"));
    }
    let (tenant, grace) = (
        managed_tenant(&identity, None)?,
        Duration::from_secs(rotation.grace_seconds),
    );
    let issued = app.keys.rotate_key(tenant, parse_id("key", &key)?, grace).await?;
    Ok(Json(IssuedKey::from_created(issued, (app.clock)())))
}
