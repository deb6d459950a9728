//! `DELETE /api/v1/keys/{id}`: from the answer on the key opens nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::{KeyBody, reach};
use crate::http::App;
use crate::http::auth::AdminIdentity;
use crate::http::extract::{Path, id};
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::CatalogueUnavailable, Code::StorageFull];

/// Ends a key for good; one that was revoked before is answered alike.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 200, body = KeyBody)))]
pub(in crate::http) async fn revoke(
    State(app): State<Arc<App>>,
    AdminIdentity(identity): AdminIdentity,
    Path(key): Path<String>,
) -> Result<Json<KeyBody>, Problem> {
    let tenant = reach(&identity, None)?;
    let revoked = app.keys.revoke(tenant, id("key", &key)?).await?;
    Ok(Json(KeyBody::of(revoked, (app.clock)())))
}
