//! API keys as the catalogue stores them.
//!
//! Invariant: a secret is never stored, only its keyed hash. A key is never deleted, so a library that ever had a key
//! never accepts callers without one. A tenant's keys are listed and changed by that tenant or by the operator of all.

mod secret;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

pub use secret::{EntropySource, KeyHash, KeyId, KeyIdError, KeySecret, Pepper};

use super::catalogue::{CatalogueResult, ListPage, PageRequest};
use crate::access::{ReaderSet, Role};
use crate::id::TenantId;

/// Uses within this time after the recorded last use are not written again, which saves a write per request.
pub const LAST_USED_RESOLUTION: Duration = Duration::minutes(1);

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Public id, part of the key's text.
    pub id: KeyId,
    /// Display name, chosen by its creator.
    pub name: String,
    /// The tenant its callers belong to.
    pub tenant: TenantId,
    /// What the key's callers may do.
    pub role: Role,
    /// The readers that the key's callers hold.
    pub readers: ReaderSet,
    /// Subject of the key's callers within the tenant.
    pub subject: String,
    /// Time at which the key was created.
    pub created_at: OffsetDateTime,
    /// The key is refused from this time on; `None` if it never expires.
    pub expires_at: Option<OffsetDateTime>,
    /// Time of revocation; `None` if it was not revoked.
    pub revoked_at: Option<OffsetDateTime>,
    /// Time of the last recorded use, accurate to [`LAST_USED_RESOLUTION`]; `None` if it was never used.
    pub last_used_at: Option<OffsetDateTime>,
    /// The key that replaced this one by rotation.
    pub successor: Option<KeyId>,
}

impl KeyRecord {
    /// Whether the key is accepted at `now`: neither revoked nor expired.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether the key may be rotated: it is live and has no successor.
    pub fn may_be_rotated(&self, now: OffsetDateTime) -> bool {
        self.is_live(now) && self.successor.is_none()
    }

    /// Creates the successor `id`: the same caller with the same rights and the same expiry. This key then expires at
    /// `until`, or earlier if it would have anyway.
    pub fn create_successor(&mut self, id: KeyId, now: OffsetDateTime, until: OffsetDateTime) -> Self {
        let successor = Self {
            id,
            created_at: now,
            last_used_at: None,
            successor: None,
            ..self.clone()
        };
        self.successor = Some(id);
        self.expires_at = Some(self.expires_at.map_or(until, |end| end.min(until)));
        successor
    }

    /// Whether a use at `now` should be written, see [`LAST_USED_RESOLUTION`].
    pub fn should_record_use(&self, now: OffsetDateTime) -> bool {
        self.last_used_at.is_none_or(|last| now >= last + LAST_USED_RESOLUTION)
    }
}

/// A key with the hash of its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The key without its secret.
    pub key: KeyRecord,
    /// Keyed hash of the secret.
    pub hash: KeyHash,
}

/// Result of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationOutcome {
    /// The new key, which replaces the old one.
    Done(KeyRecord),
    /// The old key was revoked, has expired or already has a successor.
    Ended,
    /// No such key exists, or it belongs to another tenant.
    Unknown,
}

/// Stores keys. `tenant` limits which keys are visible and changeable; `None` means those of all tenants.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The library's pepper; stores `fresh` as the pepper if there is none yet.
    async fn get_or_create_pepper(&self, fresh: Pepper) -> CatalogueResult<Pepper>;

    /// Whether any tenant ever had a key.
    async fn has_keys(&self) -> CatalogueResult<bool>;

    /// Stores a key; false, without any change, if its id is taken.
    async fn create_key(&self, key: StoredKey) -> CatalogueResult<bool>;

    /// The key with this id, of any tenant, live or not. Only for checking a secret.
    async fn find_key(&self, id: KeyId) -> CatalogueResult<Option<StoredKey>>;

    /// Lists keys, live or not, oldest first.
    async fn list_keys(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<ListPage<KeyRecord>>;

    /// Replaces a key by `successor` ([`KeyRecord::create_successor`]); the old one expires at `until`, or earlier if
    /// it would have anyway.
    async fn rotate_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        successor: (KeyId, KeyHash),
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> CatalogueResult<RotationOutcome>;

    /// Revokes a key permanently; revoking it again keeps the first time. `None` if no such key exists or it is another
    /// tenant's.
    async fn revoke_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<KeyRecord>>;

    /// Records a use at `at`; a later use that is already recorded is kept.
    async fn record_key_use(&self, id: KeyId, at: OffsetDateTime) -> CatalogueResult<()>;
}
