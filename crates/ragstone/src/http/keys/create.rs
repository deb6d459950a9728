//! `POST /api/v1/keys`: creates an API key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ragstone_core::access::{Reader, ReaderSet, Role};
use ragstone_core::id::TenantId;
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use super::{IssuedKey, managed_tenant};
use crate::http::RouterState;
use crate::http::auth::{NewKey, RequireAdminIdentity};
use crate::http::extract;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::Conflict,
    Code::MediaType,
    Code::TooLarge,
    Code::BadBody,
    Code::BadField,
    Code::BadReader,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// Longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Maximum number of readers of a key.
const MAX_READERS: usize = 1_000;
/// Longest lifetime of a key that expires: ten years.
const MAX_LIFETIME: Duration = Duration::days(3_650);

/// An API key to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub(in crate::http) struct CreateKeyRequest {
    /// Display name: 1 to 256 bytes without control characters.
    name: String,
    /// `reader`, `writer` or `admin`.
    #[schema(value_type = String)]
    role: Role,
    /// Tenant of its callers. Default: the tenant of the administrator.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// Departments of its callers; each adds the reader `dept:<id>`.
    #[serde(default)]
    departments: Vec<String>,
    /// Groups of its callers; each adds the reader `group:<id>`.
    #[serde(default)]
    groups: Vec<String>,
    /// User that the key stands for: adds the reader `user:<id>` and becomes the callers' subject. Default subject:
    /// `key:<id>`.
    user: Option<String>,
    /// Lifetime in seconds, 1 to 315,360,000 (ten years). Default: the key never expires.
    expires_in_seconds: Option<u64>,
    /// Expiry as an RFC 3339 time, at most ten years ahead; alternative to `expires_in_seconds`.
    expires_at: Option<String>,
}

/// Creates an API key. Its text is in this response and cannot be read again.
///
/// For administrators. Only the operator and the key `RAGSTONE_ADMIN_KEY` may name a tenant other than their own.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = CreateKeyRequest,
    responses((status = 201, description = "The key with its secret, shown this once.", body = IssuedKey)))]
pub(in crate::http) async fn create_key(
    State(app): State<Arc<RouterState>>,
    RequireAdminIdentity(identity): RequireAdminIdentity,
    extract::Json(wanted): extract::Json<CreateKeyRequest>,
) -> Result<(StatusCode, Json<IssuedKey>), ApiProblem> {
    let now = (app.clock)();
    let tenant = managed_tenant(&identity, wanted.tenant.clone())?;
    let new = NewKey {
        readers: parse_readers(&wanted)?,
        expires_at: parse_expiry(&wanted, now)?,
        name: check_name(wanted.name)?,
        tenant: tenant.unwrap_or_else(|| identity.principal.tenant().clone()),
        role: wanted.role,
        subject: wanted.user,
    };
    let issued = app.keys.create_key(new).await?;
    Ok((StatusCode::CREATED, Json(IssuedKey::from_created(issued, now))))
}

fn check_name(name: String) -> Result<String, ApiProblem> {
    let fits = !name.trim().is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
    match fits {
        true => Ok(name),
        false => {
            let detail = format!("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters");
            Err(ApiProblem::new(Code::BadField, detail).with_pointer("/name"))
        }
    }
}

fn parse_readers(wanted: &CreateKeyRequest) -> Result<ReaderSet, ApiProblem> {
    let named = |kind: &'static str, field: &'static str, ids: &[String]| {
        let ids = ids.iter().enumerate();
        ids.map(|(n, id)| {
            let bad =
                |error| ApiProblem::new(Code::BadReader, format!("{error}")).with_pointer(format!("/{field}/{n}"));
            format!("{kind}:{id}").parse::<Reader>().map_err(bad)
        })
        .collect::<Result<Vec<_>, _>>()
    };
    let mut readers = named("dept", "departments", &wanted.departments)?;
    readers.extend(named("group", "groups", &wanted.groups)?);
    if let Some(user) = &wanted.user {
        let bad = |error| ApiProblem::new(Code::BadReader, format!("{error}")).with_pointer("/user");
        readers.push(format!("user:{user}").parse().map_err(bad)?);
    }
    match readers.len() > MAX_READERS {
        true => {
            let detail = format!("a key has at most {MAX_READERS} departments and groups");
            Err(ApiProblem::new(Code::BadField, detail))
        }
        false => Ok(readers.into_iter().collect()),
    }
}

fn parse_expiry(wanted: &CreateKeyRequest, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, ApiProblem> {
    let wrong =
        |field: &str, detail: &str| Err(ApiProblem::new(Code::BadField, detail).with_pointer(format!("/{field}")));
    let in_bounds = |end: &OffsetDateTime| *end > now && *end <= now + MAX_LIFETIME;
    match (wanted.expires_in_seconds, &wanted.expires_at) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => wrong("expires_at", "expires_in_seconds says the same: name one of them"),
        (Some(seconds), None) => match i64::try_from(seconds).map(Duration::seconds) {
            Ok(life) if life.is_positive() && life <= MAX_LIFETIME => Ok(Some(now + life)),
            _ => wrong("expires_in_seconds", "must be 1 to 315360000 (ten years)"),
        },
        (None, Some(text)) => match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(end) if in_bounds(&end) => Ok(Some(end)),
            Ok(_) => wrong("expires_at", "must lie in the future, ten years away at most"),
            Err(_) => wrong(
                "expires_at",
                "must be a moment of RFC 3339 such as 2030-01-31T12:00:00Z",
            ),
        },
    }
}
