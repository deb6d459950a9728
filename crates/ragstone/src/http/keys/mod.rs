//! `/api/v1/keys`: making, listing, rotating and revoking API keys.
//!
//! Invariant: the text of a key is in one answer, the one that made it; an administrator sees and changes the keys of its
//! own tenant only, unless it is the operator or has the first key.

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

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyBody {
    /// Its public name, which its text begins with.
    id: String,
    /// What people call it.
    name: String,
    /// Whose callers it lets in.
    tenant: String,
    /// `reader`, `writer` or `admin`.
    role: String,
    /// Whom its callers may act as, beside `everyone`.
    readers: Vec<String>,
    /// What its callers are called within the tenant.
    subject: String,
    /// Whether it opens anything.
    live: bool,
    /// RFC 3339.
    created_at: String,
    /// From when on it is refused, RFC 3339.
    expires_at: Option<String>,
    /// RFC 3339.
    revoked_at: Option<String>,
    /// Give or take a minute, RFC 3339.
    last_used_at: Option<String>,
    /// The key that took its place.
    successor: Option<String>,
}

/// A key that was made; its text is shown this once.
#[derive(Serialize, ToSchema)]
pub(super) struct IssuedKey {
    /// Goes into `Authorization: Bearer`.
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

/// The tenant whose keys this caller means, where it says one; all are meant where that is none.
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
