//! `GET /api/v1/keys`: the API keys that the caller manages.

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
    /// The `next_cursor` of the previous page; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of keys per page, 1 to 1,000. Default: 50.
    limit: Option<usize>,
    /// Only keys of this tenant; for callers that manage the keys of all tenants.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantId>,
}

/// A page of the list of keys.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct KeyList {
    /// The keys, oldest first.
    keys: Vec<KeyBody>,
    /// Cursor of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// Lists the API keys that the caller manages, oldest first, including ended ones. Secrets are never returned.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", params(KeyListParameters),
    responses((status = 200, description = "A page of keys, without their secrets.", body = KeyList)))]
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
