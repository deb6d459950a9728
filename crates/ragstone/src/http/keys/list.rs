//! `GET /api/v1/keys`: the keys that the caller manages.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::PageRequest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{KeyBody, managed_tenant};
use crate::http::RouterState;
use crate::http::auth::RequireAdminIdentity;
use crate::http::extract::{Query, page_request};
use crate::http::list;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::BadQuery, Code::BadCursor, Code::CatalogueUnavailable];

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct KeyListParameters {
    /// What the last page said as `next_cursor`.
    cursor: Option<String>,
    /// Most keys; 50 if not said, at most 1,000.
    limit: Option<usize>,
    /// Of this tenant; for whoever manages the keys of all.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantId>,
}

/// A page of keys.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct KeyList {
    keys: Vec<KeyBody>,
    /// Null at the end.
    next_cursor: Option<String>,
}

/// The keys that the caller manages, oldest first, those that have ended among them. Never a secret.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", params(KeyListParameters),
    responses((status = 200, body = KeyList)))]
pub(in crate::http) async fn list_keys(
    State(app): State<Arc<RouterState>>,
    RequireAdminIdentity(identity): RequireAdminIdentity,
    Query(parameters): Query<KeyListParameters>,
) -> Result<Json<KeyList>, ApiProblem> {
    let tenant = managed_tenant(&identity, parameters.tenant)?;
    let request = page_request(parameters.cursor, parameters.limit);
    let now = (app.clock)();
    let fetch = |step: PageRequest| {
        let (keys, tenant) = (&app.keys, tenant.as_ref());
        async move { keys.list_keys(tenant, &step).await.map_err(ApiProblem::from) }
    };
    let most_bytes = app.settings.list_bytes;
    let (keys, next_cursor) = list::fill_page(request, most_bytes, fetch, |key| KeyBody::from_key(key, now)).await?;
    Ok(Json(KeyList { keys, next_cursor }))
}
