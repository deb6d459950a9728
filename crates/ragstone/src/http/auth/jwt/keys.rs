//! Cache of one issuer's keys: fetched when first needed, refreshed before they expire, and fetched again for an
//! unknown key id.
//!
//! Invariant: one fetch at a time, at most one per [`REFETCH_INTERVAL`], and not cancelled when the waiting caller
//! disconnects; expired keys are used only while the issuer cannot be reached, and not longer than
//! [`USED_WHILE_FAILING`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::TokenError;
use super::fetch::{FetchedKeys, KeyFetchError, KeySource};
use super::key::IssuerKey;
use crate::config::SignatureAlgorithm;

/// Shortest time between the starts of two fetches, so that unknown key ids and failures cannot flood the issuer.
pub const REFETCH_INTERVAL: Duration = Duration::from_secs(30);
/// How long expired keys are still used while the issuer cannot be reached.
pub const USED_WHILE_FAILING: Duration = Duration::from_secs(60 * 60);

/// Monotonic clock: the time since an arbitrary start.
pub type KeyCacheClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Cache of the keys of one issuer.
pub struct IssuerKeyCache {
    issuer: String,
    algorithms: Vec<SignatureAlgorithm>,
    source: KeySource,
    steady: KeyCacheClock,
    state: Mutex<KeyCacheState>,
}

/// The keys of one fetch.
#[derive(Debug, Default)]
pub struct IssuerKeySet {
    /// Number that changes whenever the keys change.
    pub generation: u64,
    keys: Vec<IssuerKey>,
}

/// Which key verifies a token.
#[derive(Debug, PartialEq, Eq)]
enum KeyChoice<'a> {
    One(&'a IssuerKey),
    /// No key has this id; it may have been published since the last fetch.
    Unknown,
    /// The id is known, but no key fits the algorithm, or several do.
    None,
}

#[derive(Default)]
struct KeyCacheState {
    set: Arc<IssuerKeySet>,
    /// From `renew` on the keys are fetched in the background, from `old` on before they are used, and from `dead` on
    /// they are not used at all. All are in the past before the first fetch.
    renew: Duration,
    old: Duration,
    dead: Duration,
    /// When the last fetch began.
    began: Option<Duration>,
    /// The running fetch; closed when it has ended.
    running: Option<watch::Receiver<()>>,
}

impl IssuerKeyCache {
    /// An empty cache for the keys of `source` that suit `algorithms`; fetches nothing yet.
    pub fn new(issuer: String, algorithms: Vec<SignatureAlgorithm>, source: KeySource, steady: KeyCacheClock) -> Self {
        Self {
            issuer,
            algorithms,
            source,
            steady,
            state: Mutex::default(),
        }
    }

    /// Starts a fetch if one is due, without waiting.
    pub fn prefetch_keys(self: &Arc<Self>) {
        self.current_generation();
    }

    /// The generation that can be used without waiting; `None` if the keys have expired. Starts a fetch if one is due.
    pub fn current_generation(self: &Arc<Self>) -> Option<u64> {
        let now = (self.steady)();
        let mut state = self.lock_state();
        if now >= state.renew {
            self.begin_fetch(&mut state, now);
        }
        (now < state.old).then_some(state.set.generation)
    }

    /// Verifies `signature` of `signed` with the key that `id` and `algorithm` select; returns the generation of the
    /// keys.
    pub async fn verify_signature(
        self: &Arc<Self>,
        (id, algorithm): (Option<&str>, SignatureAlgorithm),
        signed: &[u8],
        signature: &[u8],
    ) -> Result<u64, TokenError> {
        let mut set = self.fresh_keys().await?;
        if set.choose_key(id, algorithm) == KeyChoice::Unknown && self.refetch_keys().await {
            set = self.fresh_keys().await?;
        }
        match set.choose_key(id, algorithm) {
            KeyChoice::One(key) if key.verifies_signature(signed, signature) => Ok(set.generation),
            KeyChoice::One(_) => Err(TokenError::Signature),
            KeyChoice::Unknown | KeyChoice::None => Err(TokenError::Key),
        }
    }

    /// The usable keys; waits for a fetch if they have expired.
    async fn fresh_keys(self: &Arc<Self>) -> Result<Arc<IssuerKeySet>, TokenError> {
        let fetch = match self.current_generation() {
            Some(_) => None,
            None => self.lock_state().running.clone(),
        };
        wait_for_fetch(fetch).await;
        let state = self.lock_state();
        match (self.steady)() < state.dead {
            true => Ok(state.set.clone()),
            false => Err(TokenError::NoKeys),
        }
    }

    /// Fetches again for an unknown key id and waits; false if there was a fetch just now.
    async fn refetch_keys(self: &Arc<Self>) -> bool {
        let now = (self.steady)();
        let fetch = {
            let mut state = self.lock_state();
            self.begin_fetch(&mut state, now);
            state.running.clone()
        };
        wait_for_fetch(fetch).await
    }

    /// Starts a fetch unless one runs or began just now. It is a task of its own, so it survives the caller that caused
    /// it.
    fn begin_fetch(self: &Arc<Self>, state: &mut KeyCacheState, now: Duration) {
        let runs = state
            .running
            .as_ref()
            .is_some_and(|running| running.has_changed().is_ok());
        if runs || state.began.is_some_and(|began| now < began + REFETCH_INTERVAL) {
            return;
        }
        let (ends, running) = watch::channel(());
        (state.began, state.running) = (Some(now), Some(running));
        let keys = self.clone();
        tokio::spawn(async move {
            let fetched = keys.source.fetch_keys().await;
            keys.store_fetched(fetched);
            drop(ends);
        });
    }

    fn store_fetched(&self, fetched: Result<FetchedKeys, KeyFetchError>) {
        let FetchedKeys { mut keys, max_age } = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::warn!(issuer = self.issuer, %error, "the keys of an issuer could not be fetched");
                return;
            }
        };
        keys.retain(|key| self.algorithms.contains(&key.algorithm()));
        if keys.is_empty() {
            tracing::warn!(issuer = self.issuer, "an issuer publishes no key that can be used");
        }
        let now = (self.steady)();
        let mut state = self.lock_state();
        if state.set.keys != keys {
            let generation = state.set.generation + 1;
            tracing::debug!(issuer = self.issuer, keys = keys.len(), "the keys of an issuer changed");
            state.set = Arc::new(IssuerKeySet { generation, keys });
        }
        state.renew = now + max_age * 3 / 4;
        state.old = now + max_age;
        state.dead = state.old + USED_WHILE_FAILING;
        state.running = None;
    }

    fn lock_state(&self) -> MutexGuard<'_, KeyCacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IssuerKeySet {
    /// Selects the only key with this id and algorithm; without an id the only key with the algorithm.
    fn choose_key(&self, id: Option<&str>, algorithm: SignatureAlgorithm) -> KeyChoice<'_> {
        let named: Vec<&IssuerKey> = self
            .keys
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id)
            .collect();
        let mut fitting = named.iter().filter(|key| key.algorithm() == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => KeyChoice::One(key),
            (None, _) if named.is_empty() => KeyChoice::Unknown,
            _ => KeyChoice::None,
        }
    }
}

/// Waits until a fetch has ended; false if there is none.
async fn wait_for_fetch(fetch: Option<watch::Receiver<()>>) -> bool {
    match fetch {
        None => false,
        // Nothing is ever sent: `changed` returns when the sender is dropped.
        Some(mut fetch) => {
            let _ = fetch.changed().await;
            true
        }
    }
}

impl std::fmt::Debug for IssuerKeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuerKeyCache")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
