//! Issues API keys and knows them again.
//!
//! Invariant: a key that was revoked or rotated through this process opens nothing from the next request on, and through
//! another process [`TRUSTED_FOR`] later at most; a secret is in no log and no error; an unknown id costs what a wrong
//! secret does: one look-up, one hash, one comparison.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ragstone_core::access::{ReaderSet, Role};
use ragstone_core::id::TenantId;
use ragstone_core::ingest::Clock;
use ragstone_core::seam::KeyStore;
use ragstone_core::seam::catalogue::{CatalogueResult, Page, PageRequest};
use ragstone_core::seam::keys::{Entropy, Key, KeyHash, KeyId, KeySecret, Pepper, Rotation, StoredKey};
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::http::problem::{Code, Problem};

/// How long a key that was found is not looked up again, and for how long it is believed that there is none at all.
pub const TRUSTED_FOR: Duration = Duration::from_secs(2);
/// Most keys that are remembered.
const MAX_REMEMBERED: usize = 10_000;

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
pub struct Keyring {
    store: Arc<dyn KeyStore>,
    entropy: Entropy,
    clock: Clock,
    pepper: OnceCell<Pepper>,
    exist: AtomicBool,
    looked_at: Mutex<Option<Instant>>,
    remembered: Mutex<Remembered>,
}

/// Keys whose secrets were shown to be right; a wrong one is never here.
#[derive(Default)]
struct Remembered {
    /// Counts what was forgotten, so that what was read before is not remembered after.
    forgotten: u64,
    keys: HashMap<KeyHash, (Arc<Key>, Instant)>,
}

impl Keyring {
    /// The keys of `store`.
    pub fn new(store: Arc<dyn KeyStore>, entropy: Entropy, clock: Clock) -> Arc<Self> {
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
    pub async fn exist(&self) -> CatalogueResult<bool> {
        let fresh = |at: Instant| at.elapsed() < TRUSTED_FOR;
        if !self.known_to_exist() && !lock(&self.looked_at).is_some_and(fresh) {
            if self.store.has_keys().await? {
                self.exist.store(true, Ordering::SeqCst);
            }
            *lock(&self.looked_at) = Some(Instant::now());
        }
        Ok(self.known_to_exist())
    }

    /// Whether there was a key when it was last looked.
    pub fn known_to_exist(&self) -> bool {
        self.exist.load(Ordering::SeqCst)
    }

    /// The live key whose text was presented.
    pub async fn verify(&self, presented: &str) -> Result<Arc<Key>, Problem> {
        let secret: KeySecret = presented.parse().map_err(|_| unknown())?;
        let hash = secret.hash(self.pepper().await?);
        let (remembered, forgotten) = self.recall(&hash);
        let key = match remembered {
            Some(key) => key,
            None => self.look_up(secret.id(), hash, forgotten).await?,
        };
        match key.is_live((self.clock)()) {
            true => Ok(key),
            false => Err(ended(&key)),
        }
    }

    /// The key of this id, live or not.
    pub async fn find(&self, id: KeyId) -> CatalogueResult<Option<Key>> {
        Ok(self.store.find(id).await?.map(|stored| stored.key))
    }

    /// Refuses a caller whose key has ended since it came in.
    pub async fn still_opens(&self, id: KeyId) -> Result<(), Problem> {
        match self.find(id).await? {
            Some(key) if key.is_live(self.now()) => Ok(()),
            Some(key) => Err(ended(&key)),
            None => Err(unknown()),
        }
    }

    /// The time that keys and tokens end by.
    pub fn now(&self) -> OffsetDateTime {
        (self.clock)()
    }

    async fn pepper(&self) -> CatalogueResult<&Pepper> {
        let load = || self.store.pepper(Pepper::new(&self.entropy));
        self.pepper.get_or_try_init(load).await
    }

    async fn look_up(&self, id: KeyId, hash: KeyHash, forgotten: u64) -> Result<Arc<Key>, Problem> {
        let found = self.store.find(id).await?;
        let expected = found
            .as_ref()
            .map_or(KeyHash::from_bytes([0; 32]), |stored| stored.hash);
        let (StoredKey { key, .. }, true) = (found.ok_or_else(|| refused(id))?, hash == expected) else {
            return Err(refused(id));
        };
        let (key, now) = (Arc::new(key), (self.clock)());
        if key.is_live(now) {
            self.remember(hash, &key, forgotten);
            self.note_use(&key, now);
        }
        Ok(key)
    }

    /// A key that was verified a moment ago, and how much was forgotten so far.
    fn recall(&self, hash: &KeyHash) -> (Option<Arc<Key>>, u64) {
        let remembered = lock(&self.remembered);
        let found = remembered.keys.get(hash);
        let fresh = found.filter(|(_, until)| Instant::now() < *until);
        (fresh.map(|(key, _)| key.clone()), remembered.forgotten)
    }

    fn remember(&self, hash: KeyHash, key: &Arc<Key>, forgotten: u64) {
        let now = Instant::now();
        let mut remembered = lock(&self.remembered);
        if remembered.forgotten != forgotten {
            return;
        }
        if remembered.keys.len() >= MAX_REMEMBERED {
            remembered.keys.retain(|_, (_, until)| now < *until);
        }
        if remembered.keys.len() >= MAX_REMEMBERED {
            remembered.keys.clear();
        }
        remembered.keys.insert(hash, (key.clone(), now + TRUSTED_FOR));
    }

    fn forget(&self, id: KeyId) {
        let mut remembered = lock(&self.remembered);
        remembered.forgotten += 1;
        remembered.keys.retain(|_, (key, _)| key.id != id);
    }

    /// Behind the answer, and lost if it fails: nobody waits for it.
    fn note_use(&self, key: &Key, now: OffsetDateTime) {
        if key.is_use_news(now) {
            let (store, id) = (self.store.clone(), key.id);
            tokio::spawn(async move {
                if let Err(error) = store.used(id, now).await {
                    tracing::debug!(%error, key = %id, "the use of a key was not noted");
                }
            });
        }
    }

    /// Makes a key; its secret is known to the caller alone.
    pub async fn create(self: &Arc<Self>, new: NewKey) -> Result<(Key, KeySecret), Problem> {
        let secret = KeySecret::new(&self.entropy);
        let key = Key {
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
        let hash = secret.hash(self.pepper().await?);
        let (ring, stored) = (self.clone(), StoredKey { key: key.clone(), hash });
        let created = to_its_end(async move {
            let created = ring.store.create(stored).await?;
            ring.exist.fetch_or(created, Ordering::SeqCst);
            Ok(created)
        });
        match created.await? {
            true => Ok((key, secret)),
            false => Err(Problem::new(Code::Conflict, "the id that was drawn is taken")),
        }
    }

    /// Keys of `tenant`, or all of them.
    pub async fn list(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<Page<Key>> {
        self.store.list(tenant, page).await
    }

    /// Gives a key of `tenant` (or of any) a successor; the old one holds for `grace` yet.
    pub async fn rotate(
        self: &Arc<Self>,
        tenant: Option<TenantId>,
        id: KeyId,
        grace: Duration,
    ) -> Result<(Key, KeySecret), Problem> {
        let secret = KeySecret::new(&self.entropy);
        let successor = (secret.id(), secret.hash(self.pepper().await?));
        let (ring, now) = (self.clone(), (self.clock)());
        let rotated = to_its_end(async move {
            let store = &ring.store;
            let rotated = store.rotate(tenant.as_ref(), id, successor, now + grace, now);
            let rotated = rotated.await?;
            ring.forget(id);
            Ok(rotated)
        });
        match rotated.await? {
            Rotation::Done(key) => Ok((key, secret)),
            Rotation::Ended => Err(Problem::new(Code::KeyEnded, format!("key {id} has ended"))),
            Rotation::Unknown => Err(Problem::not_found("key")),
        }
    }

    /// Ends a key of `tenant`, or of any.
    pub async fn revoke(self: &Arc<Self>, tenant: Option<TenantId>, id: KeyId) -> Result<Key, Problem> {
        let (ring, now) = (self.clone(), (self.clock)());
        let revoked = to_its_end(async move {
            let revoked = ring.store.revoke(tenant.as_ref(), id, now).await?;
            ring.forget(id);
            Ok(revoked)
        });
        revoked.await?.ok_or_else(|| Problem::not_found("key"))
    }
}

/// A caller who leaves does not stop what follows a change that is already written.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = CatalogueResult<T>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(change).await {
        Ok(done) => Ok(done?),
        Err(error) => {
            tracing::error!(%error, "a change of keys broke off");
            Err(Problem::new(Code::Internal, "the keys may or may not have changed"))
        }
    }
}

/// A text that proves nobody.
pub(super) fn unknown() -> Problem {
    Problem::new(Code::Unauthorized, "the key is not known here")
}

fn refused(id: KeyId) -> Problem {
    tracing::info!(key = %id, "a key was refused: its id or its secret is wrong");
    unknown()
}

/// Told only to whoever has the secret.
fn ended(key: &Key) -> Problem {
    let why = match key.revoked_at {
        Some(_) => "was revoked",
        None => "has expired",
    };
    tracing::info!(key = %key.id, "a key was refused: it {why}");
    Problem::new(Code::Unauthorized, format!("the key {why}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
