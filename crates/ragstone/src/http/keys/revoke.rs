//! `DELETE /api/v1/keys/{id}`: revokes an API key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::{KeyBody, managed_tenant};
use crate::http::RouterState;
use crate::http::auth::RequireAdminIdentity;
use crate::http::extract::{Path, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable, Code::StorageFull];

/// Revokes a key permanently. If it was revoked before, the response is the same.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 200, description = "The key, as it is now.", body = KeyBody)))]
pub(in crate::http) async fn revoke_key(
    State(app): State<Arc<RouterState>>,
    RequireAdminIdentity(identity): RequireAdminIdentity,
    Path(key): Path<String>,
) -> Result<Json<KeyBody>, ApiProblem> {
    let tenant = managed_tenant(&identity, None)?;
    let revoked = app.keys.revoke_key(tenant, parse_id("key", &key)?).await?;
    Ok(Json(KeyBody::from_key(revoked, (app.clock)())))
}
