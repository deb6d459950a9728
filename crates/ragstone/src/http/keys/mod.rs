//! `/api/v1/keys`: creating, listing, rotating and revoking API keys.
//!
//! Invariant: the text of a key is in one response only, the one that created it; an administrator sees and changes
//! keys of its own tenant only, unless it is the operator or has the admin key of the settings.

pub mod create;
pub mod list;
pub mod revoke;
pub mod rotate;
#[cfg(test)]
mod tests;

use ragstone_core::document::format_timestamp;
use ragstone_core::id::TenantId;
use ragstone_core::seam::keys::{KeyRecord, KeySecret};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::auth::CallerIdentity;
use super::problem::{ApiProblem, Code};

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyBody {
    /// Public id; part of the text of the key.
    id: String,
    /// Display name of the key.
    name: String,
    /// Tenant of its callers.
    tenant: String,
    /// `reader`, `writer` or `admin`.
    role: String,
    /// Readers that its callers hold, in addition to `everyone`.
    readers: Vec<String>,
    /// Name of its callers within the tenant.
    subject: String,
    /// Whether it is valid now: neither revoked nor expired.
    live: bool,
    /// When it was created, RFC 3339.
    created_at: String,
    /// When it expires, RFC 3339; null for never.
    expires_at: Option<String>,
    /// When it was revoked, RFC 3339; null if it was not.
    revoked_at: Option<String>,
    /// When it was last used, to about a minute, RFC 3339; null for never.
    last_used_at: Option<String>,
    /// Id of the key that replaced it by rotation; null if none.
    successor: Option<String>,
}

/// A key that was just created. Its text is returned only this once.
#[derive(Serialize, ToSchema)]
pub(super) struct IssuedKey {
    /// Text of the key, for the header `Authorization: Bearer <key>`.
    key: String,
    #[serde(flatten)]
    shown: KeyBody,
}

impl KeyBody {
    fn from_key(key: KeyRecord, now: OffsetDateTime) -> Self {
        Self {
            id: key.id.to_string(),
            live: key.is_live(now),
            role: format!("{:?}", key.role).to_lowercase(),
            readers: key.readers.iter().map(ToString::to_string).collect(),
            name: key.name,
            tenant: key.tenant.into(),
            subject: key.subject,
            created_at: format_timestamp(key.created_at),
            expires_at: key.expires_at.map(format_timestamp),
            revoked_at: key.revoked_at.map(format_timestamp),
            last_used_at: key.last_used_at.map(format_timestamp),
            successor: key.successor.map(String::from),
        }
    }
}

impl IssuedKey {
    fn from_created((key, secret): (KeyRecord, KeySecret), now: OffsetDateTime) -> Self {
        Self {
            key: secret.reveal(),
            shown: KeyBody::from_key(key, now),
        }
    }
}

/// The tenant whose keys the caller manages; `None` for all tenants. 403 if it names a tenant that it does not manage.
fn managed_tenant(identity: &CallerIdentity, named: Option<TenantId>) -> Result<Option<TenantId>, ApiProblem> {
    let own = identity.principal.tenant();
    match named {
        named if identity.manages_all_tenants => Ok(named),
        Some(other) if other != *own => Err(ApiProblem::new(
            Code::Forbidden,
            format!("this caller manages the keys of tenant {own} only"),
        )),
        _ => Ok(Some(own.clone())),
    }
}
