//! `POST /api/v1/keys/{id}/rotate`: replaces an API key by a new one with the same rights.

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

/// Longest time that the old key stays valid beside its successor, in seconds: 30 days.
const MAX_GRACE_SECONDS: u64 = 30 * 86_400;

/// Options of a rotation.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct KeyRotation {
    /// Seconds for which the old key stays valid, 0 to 2,592,000 (30 days). Default: 0.
    #[serde(default)]
    grace_seconds: u64,
}

/// Creates a successor of a key, with the same name, tenant, role, readers, subject and expiry.
///
/// The old key is refused from now on, or after `grace_seconds`. The body may be omitted.
#[utoipa::path(post, path = "/api/v1/keys/{id}/rotate", tag = "keys", params(("id" = String, Path)),
    request_body = KeyRotation, responses((status = 200, description = "The new secret, shown this once.", body = IssuedKey)))]
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
