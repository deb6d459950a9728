//! API keys: what the catalogue keeps of them.
//!
//! Invariant: a secret is never stored, only its keyed hash; a key is never removed, so that a library that had one
//! stays closed to callers without. Keys of one tenant are changed and listed by that tenant, or by whoever has them all.

mod secret;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

pub use secret::{EntropySource, KeyHash, KeyId, KeyIdError, KeySecret, Pepper};

use super::catalogue::{CatalogueResult, ListPage, PageRequest};
use crate::access::{ReaderSet, Role};
use crate::id::TenantId;

/// Within this time a further use of a key is not worth a write.
pub const LAST_USED_RESOLUTION: Duration = Duration::minutes(1);

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its public name, part of its text.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// The tenant its callers belong to.
    pub tenant: TenantId,
    /// What its callers may do.
    pub role: Role,
    /// Whom its callers may act as.
    pub readers: ReaderSet,
    /// What its callers are called within the tenant.
    pub subject: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// From when on it is refused, if ever.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was revoked.
    pub revoked_at: Option<OffsetDateTime>,
    /// When it was last used, give or take [`LAST_USED_RESOLUTION`].
    pub last_used_at: Option<OffsetDateTime>,
    /// The key that took its place.
    pub successor: Option<KeyId>,
}

impl KeyRecord {
    /// Whether it opens anything at `now`.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether another key may still take its place: it is live and none has.
    pub fn may_be_rotated(&self, now: OffsetDateTime) -> bool {
        self.is_live(now) && self.successor.is_none()
    }

    /// Gives its place to a key `id`: the same caller with the same rights until the same end. This one ends at `until`,
    /// or before if it would have.
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

    /// Whether a use at `now` is worth a write.
    pub fn should_record_use(&self, now: OffsetDateTime) -> bool {
        self.last_used_at.is_none_or(|last| now >= last + LAST_USED_RESOLUTION)
    }
}

/// A key with what its secret is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: KeyRecord,
    /// The hash of its secret.
    pub hash: KeyHash,
}

/// What rotating did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationOutcome {
    /// This key took the old one's place.
    Done(KeyRecord),
    /// It was revoked, has expired, or another key has its place already.
    Ended,
    /// There is no such key, or it is another tenant's.
    Unknown,
}

/// Keeps keys. `tenant` is whose keys may be seen or changed, all where it is none.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The library's pepper; `fresh` becomes it where there is none.
    async fn get_or_create_pepper(&self, fresh: Pepper) -> CatalogueResult<Pepper>;

    /// Whether there ever was a key, of whatever tenant.
    async fn has_keys(&self) -> CatalogueResult<bool>;

    /// Keeps a key; false if its id is taken, and nothing was done.
    async fn create_key(&self, key: StoredKey) -> CatalogueResult<bool>;

    /// The key of this id, of whatever tenant, live or not: for whoever checks a secret, and for nothing else.
    async fn find_key(&self, id: KeyId) -> CatalogueResult<Option<StoredKey>>;

    /// Keys, oldest first, live or not.
    async fn list_keys(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<ListPage<KeyRecord>>;

    /// Gives a key's place to another one ([`KeyRecord::create_successor`]); the old one ends at `until`, or before if it would have.
    async fn rotate_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        successor: (KeyId, KeyHash),
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> CatalogueResult<RotationOutcome>;

    /// Ends a key for good; the first time stays. None if there is no such key, or it is another tenant's.
    async fn revoke_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<KeyRecord>>;

    /// Notes a use; a later one that is noted already stays.
    async fn record_key_use(&self, id: KeyId, at: OffsetDateTime) -> CatalogueResult<()>;
}
