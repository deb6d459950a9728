//! Issues and verifies API keys.
//!
//! Invariant: a key that was revoked or rotated through this process is refused from the next request on, and one
//! changed by another process at most [`KEY_CACHE_TTL`] later; no log and no error contains a secret; an unknown id
//! costs the same as a wrong secret: one look-up, one hash, one comparison.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ragstone_core::access::{ReaderSet, Role};
use ragstone_core::id::TenantId;
use ragstone_core::ingest::WallClockFn;
use ragstone_core::seam::KeyStore;
use ragstone_core::seam::catalogue::{CatalogueResult, ListPage, PageRequest};
use ragstone_core::seam::keys::{
    EntropySource, KeyHash, KeyId, KeyRecord, KeySecret, Pepper, RotationOutcome, StoredKey,
};
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::http::problem::{ApiProblem, Code};

/// How long a verified key is used without another look-up, and how long the result that no key exists is believed.
pub const KEY_CACHE_TTL: Duration = Duration::from_secs(2);
/// Maximum number of cached keys.
const MAX_CACHED_KEYS: usize = 10_000;

/// A key to create.
pub struct NewKey {
    /// Display name of the key.
    pub name: String,
    /// Tenant of its callers.
    pub tenant: TenantId,
    /// Role of its callers.
    pub role: Role,
    /// Readers that its callers hold.
    pub readers: ReaderSet,
    /// Subject of its callers; `None` makes it `key:<id>`.
    pub subject: Option<String>,
    /// When the key expires; `None` for never.
    pub expires_at: Option<OffsetDateTime>,
}

/// API keys: creation, verification with a cache, rotation and revocation.
pub struct ApiKeyring {
    store: Arc<dyn KeyStore>,
    entropy: EntropySource,
    clock: WallClockFn,
    pepper: OnceCell<Pepper>,
    exist: AtomicBool,
    looked_at: Mutex<Option<Instant>>,
    remembered: Mutex<VerifiedKeys>,
}

/// Cache of keys whose secrets were verified; wrong ones are never inserted, so they cannot push right ones out.
#[derive(Default)]
struct VerifiedKeys {
    /// Number of evictions, so that a look-up that began before an eviction does not insert its stale result.
    forgotten: u64,
    keys: HashMap<KeyHash, (Arc<KeyRecord>, Instant)>,
}

impl ApiKeyring {
    /// A keyring over `store`; reads nothing yet.
    pub fn new(store: Arc<dyn KeyStore>, entropy: EntropySource, clock: WallClockFn) -> Arc<Self> {
        Arc::new(Self {
            store,
            entropy,
            clock,
            pepper: OnceCell::new(),
            exist: AtomicBool::new(false),
            looked_at: Mutex::default(),
            remembered: Mutex::default(),
        })
    }

    /// Whether any key was ever created. A key created through this process counts at once, another one within
    /// `KEY_CACHE_TTL`.
    pub async fn has_keys(&self) -> CatalogueResult<bool> {
        let fresh = |at: Instant| at.elapsed() < KEY_CACHE_TTL;
        if !self.are_keys_known() && !lock(&self.looked_at).is_some_and(fresh) {
            if self.store.has_keys().await? {
                self.exist.store(true, Ordering::SeqCst);
            }
            *lock(&self.looked_at) = Some(Instant::now());
        }
        Ok(self.are_keys_known())
    }

    /// Whether the last look-up found that keys exist; reads only memory.
    pub fn are_keys_known(&self) -> bool {
        self.exist.load(Ordering::SeqCst)
    }

    /// Verifies the text of a key and returns the live key. An unknown id and a wrong secret get the same 401.
    pub async fn verify_key(&self, presented: &str) -> Result<Arc<KeyRecord>, ApiProblem> {
        let secret: KeySecret = presented.parse().map_err(|_| unknown_key_problem())?;
        let hash = secret.hash(self.load_pepper().await?);
        let (remembered, forgotten) = self.cached_key(&hash);
        let key = match remembered {
            Some(key) => key,
            None => self.look_up_key(secret.id(), hash, forgotten).await?,
        };
        match key.is_live((self.clock)()) {
            true => Ok(key),
            false => Err(ended_key_problem(&key)),
        }
    }

    /// The key with this id, live or ended.
    pub async fn find_key(&self, id: KeyId) -> CatalogueResult<Option<KeyRecord>> {
        Ok(self.store.find_key(id).await?.map(|stored| stored.key))
    }

    /// Fails if a key that was verified before has ended since. Not cached.
    pub async fn check_live(&self, id: KeyId) -> Result<(), ApiProblem> {
        match self.find_key(id).await? {
            Some(key) if key.is_live(self.current_time()) => Ok(()),
            Some(key) => Err(ended_key_problem(&key)),
            None => Err(unknown_key_problem()),
        }
    }

    /// The current time, by which keys and tokens expire.
    pub fn current_time(&self) -> OffsetDateTime {
        (self.clock)()
    }

    async fn load_pepper(&self) -> CatalogueResult<&Pepper> {
        let load = || self.store.get_or_create_pepper(Pepper::new(&self.entropy));
        self.pepper.get_or_try_init(load).await
    }

    async fn look_up_key(&self, id: KeyId, hash: KeyHash, forgotten: u64) -> Result<Arc<KeyRecord>, ApiProblem> {
        let found = self.store.find_key(id).await?;
        // An unknown id is compared with a constant, so that it costs the same as a wrong secret.
        let expected = found
            .as_ref()
            .map_or(KeyHash::from_bytes([0; 32]), |stored| stored.hash);
        let (StoredKey { key, .. }, true) = (found.ok_or_else(|| refused_key_problem(id))?, hash == expected) else {
            return Err(refused_key_problem(id));
        };
        let (key, now) = (Arc::new(key), (self.clock)());
        if key.is_live(now) {
            self.cache_key(hash, &key, forgotten);
            self.record_use(&key, now);
        }
        Ok(key)
    }

    /// The cached key, if fresh, and the number of evictions so far.
    fn cached_key(&self, hash: &KeyHash) -> (Option<Arc<KeyRecord>>, u64) {
        let remembered = lock(&self.remembered);
        let found = remembered.keys.get(hash);
        let fresh = found.filter(|(_, until)| Instant::now() < *until);
        (fresh.map(|(key, _)| key.clone()), remembered.forgotten)
    }

    fn cache_key(&self, hash: KeyHash, key: &Arc<KeyRecord>, forgotten: u64) {
        let now = Instant::now();
        let mut remembered = lock(&self.remembered);
        if remembered.forgotten != forgotten {
            return;
        }
        if remembered.keys.len() >= MAX_CACHED_KEYS {
            remembered.keys.retain(|_, (_, until)| now < *until);
        }
        if remembered.keys.len() >= MAX_CACHED_KEYS {
            remembered.keys.clear();
        }
        remembered.keys.insert(hash, (key.clone(), now + KEY_CACHE_TTL));
    }

    fn evict_key(&self, id: KeyId) {
        let mut remembered = lock(&self.remembered);
        remembered.forgotten += 1;
        remembered.keys.retain(|_, (key, _)| key.id != id);
    }

    /// Runs in the background and is lost on failure, so that no request waits for it.
    fn record_use(&self, key: &KeyRecord, now: OffsetDateTime) {
        if key.should_record_use(now) {
            let (store, id) = (self.store.clone(), key.id);
            tokio::spawn(async move {
                if let Err(error) = store.record_key_use(id, now).await {
                    tracing::debug!(%error, key = %id, "the use of a key was not noted");
                }
            });
        }
    }

    /// Creates a key. Its secret is returned here and stored nowhere.
    pub async fn create_key(self: &Arc<Self>, new: NewKey) -> Result<(KeyRecord, KeySecret), ApiProblem> {
        let secret = KeySecret::new(&self.entropy);
        let key = KeyRecord {
            id: secret.id(),
            subject: new.subject.unwrap_or_else(|| format!("key:{}", secret.id())),
            name: new.name,
            tenant: new.tenant,
            role: new.role,
            readers: new.readers,
            created_at: (self.clock)(),
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
            successor: None,
        };
        let hash = secret.hash(self.load_pepper().await?);
        let (ring, stored) = (self.clone(), StoredKey { key: key.clone(), hash });
        let created = run_to_completion(async move {
            let created = ring.store.create_key(stored).await?;
            ring.exist.fetch_or(created, Ordering::SeqCst);
            Ok(created)
        });
        match created.await? {
            true => Ok((key, secret)),
            false => Err(ApiProblem::new(Code::Conflict, "the id that was drawn is taken")),
        }
    }

    /// A page of the keys of `tenant`, or of all tenants for `None`.
    pub async fn list_keys(
        &self,
        tenant: Option<&TenantId>,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<KeyRecord>> {
        self.store.list_keys(tenant, page).await
    }

    /// Gives a key a successor; the old key stays valid for `grace`. `tenant` as in [`Self::revoke_key`].
    pub async fn rotate_key(
        self: &Arc<Self>,
        tenant: Option<TenantId>,
        id: KeyId,
        grace: Duration,
    ) -> Result<(KeyRecord, KeySecret), ApiProblem> {
        let secret = KeySecret::new(&self.entropy);
        let successor = (secret.id(), secret.hash(self.load_pepper().await?));
        let (ring, now) = (self.clone(), (self.clock)());
        let rotated = run_to_completion(async move {
            let store = &ring.store;
            let rotated = store.rotate_key(tenant.as_ref(), id, successor, now + grace, now);
            let rotated = rotated.await?;
            ring.evict_key(id);
            Ok(rotated)
        });
        match rotated.await? {
            RotationOutcome::Done(key) => Ok((key, secret)),
            RotationOutcome::Ended => Err(ApiProblem::new(Code::KeyEnded, format!("key {id} has ended"))),
            RotationOutcome::Unknown => Err(ApiProblem::not_found("key")),
        }
    }

    /// Revokes a key of `tenant`, or of any tenant for `None`. Idempotent; 404 if there is no such key.
    pub async fn revoke_key(self: &Arc<Self>, tenant: Option<TenantId>, id: KeyId) -> Result<KeyRecord, ApiProblem> {
        let (ring, now) = (self.clone(), (self.clock)());
        let revoked = run_to_completion(async move {
            let revoked = ring.store.revoke_key(tenant.as_ref(), id, now).await?;
            ring.evict_key(id);
            Ok(revoked)
        });
        revoked.await?.ok_or_else(|| ApiProblem::not_found("key"))
    }
}

/// Runs a change in its own task: a client that disconnects must not skip the cache eviction after a committed change.
async fn run_to_completion<T: Send + 'static>(
    change: impl Future<Output = CatalogueResult<T>> + Send + 'static,
) -> Result<T, ApiProblem> {
    match tokio::spawn(change).await {
        Ok(done) => Ok(done?),
        Err(error) => {
            tracing::error!(%error, "a change of keys broke off");
            Err(ApiProblem::new(Code::Internal, "the keys may or may not have changed"))
        }
    }
}

/// The 401 for a key that is malformed, unknown or wrong.
pub(super) fn unknown_key_problem() -> ApiProblem {
    ApiProblem::new(Code::Unauthorized, "the key is not known here")
}

fn refused_key_problem(id: KeyId) -> ApiProblem {
    tracing::info!(key = %id, "a key was refused: its id or its secret is wrong");
    unknown_key_problem()
}

/// Returned only to a caller who presented the right secret.
fn ended_key_problem(key: &KeyRecord) -> ApiProblem {
    let why = match key.revoked_at {
        Some(_) => "was revoked",
        None => "has expired",
    };
    tracing::info!(key = %key.id, "a key was refused: it {why}");
    ApiProblem::new(Code::Unauthorized, format!("the key {why}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
