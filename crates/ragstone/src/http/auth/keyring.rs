//! Issues API keys and knows them again.
//!
//! Invariant: a key that was revoked or rotated through this process opens nothing from the next request on, and through
//! another process [`KEY_CACHE_TTL`] later at most; a secret is in no log and no error; an unknown id costs what a wrong
//! secret does: one look-up, one hash, one comparison.

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

/// How long a key that was found is not looked up again, and for how long it is believed that there is none at all.
pub const KEY_CACHE_TTL: Duration = Duration::from_secs(2);
/// Most keys that are remembered.
const MAX_CACHED_KEYS: usize = 10_000;

/// A key to be made.
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// Whose callers it lets in.
    pub tenant: TenantId,
    /// What they may do.
    pub role: Role,
    /// Whom they may act as.
    pub readers: ReaderSet,
    /// What they are called; `key:<id>` where nobody says.
    pub subject: Option<String>,
    /// From when on it is refused.
    pub expires_at: Option<OffsetDateTime>,
}

/// The keys of a library.
pub struct ApiKeyring {
    store: Arc<dyn KeyStore>,
    entropy: EntropySource,
    clock: WallClockFn,
    pepper: OnceCell<Pepper>,
    exist: AtomicBool,
    looked_at: Mutex<Option<Instant>>,
    remembered: Mutex<VerifiedKeys>,
}

/// Keys whose secrets were shown to be right; a wrong one is never here.
#[derive(Default)]
struct VerifiedKeys {
    /// Counts what was forgotten, so that what was read before is not remembered after.
    forgotten: u64,
    keys: HashMap<KeyHash, (Arc<KeyRecord>, Instant)>,
}

impl ApiKeyring {
    /// The keys of `store`.
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

    /// Whether there ever was a key. Through this process the first one counts at once.
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

    /// Whether there was a key when it was last looked.
    pub fn are_keys_known(&self) -> bool {
        self.exist.load(Ordering::SeqCst)
    }

    /// The live key whose text was presented.
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

    /// The key of this id, live or not.
    pub async fn find_key(&self, id: KeyId) -> CatalogueResult<Option<KeyRecord>> {
        Ok(self.store.find_key(id).await?.map(|stored| stored.key))
    }

    /// Refuses a caller whose key has ended since it came in.
    pub async fn check_live(&self, id: KeyId) -> Result<(), ApiProblem> {
        match self.find_key(id).await? {
            Some(key) if key.is_live(self.current_time()) => Ok(()),
            Some(key) => Err(ended_key_problem(&key)),
            None => Err(unknown_key_problem()),
        }
    }

    /// The time that keys and tokens end by.
    pub fn current_time(&self) -> OffsetDateTime {
        (self.clock)()
    }

    async fn load_pepper(&self) -> CatalogueResult<&Pepper> {
        let load = || self.store.get_or_create_pepper(Pepper::new(&self.entropy));
        self.pepper.get_or_try_init(load).await
    }

    async fn look_up_key(&self, id: KeyId, hash: KeyHash, forgotten: u64) -> Result<Arc<KeyRecord>, ApiProblem> {
        let found = self.store.find_key(id).await?;
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

    /// A key that was verified a moment ago, and how much was forgotten so far.
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

    /// Behind the answer, and lost if it fails: nobody waits for it.
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

    /// Makes a key; its secret is known to the caller alone.
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

    /// Keys of `tenant`, or all of them.
    pub async fn list_keys(
        &self,
        tenant: Option<&TenantId>,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<KeyRecord>> {
        self.store.list_keys(tenant, page).await
    }

    /// Gives a key of `tenant` (or of any) a successor; the old one holds for `grace` yet.
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

    /// Ends a key of `tenant`, or of any.
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

/// A caller who leaves does not stop what follows a change that is already written.
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

/// A text that proves nobody.
pub(super) fn unknown_key_problem() -> ApiProblem {
    ApiProblem::new(Code::Unauthorized, "the key is not known here")
}

fn refused_key_problem(id: KeyId) -> ApiProblem {
    tracing::info!(key = %id, "a key was refused: its id or its secret is wrong");
    unknown_key_problem()
}

/// Told only to whoever has the secret.
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
