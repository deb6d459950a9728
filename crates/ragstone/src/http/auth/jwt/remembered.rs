//! Cache of recently verified tokens, so that a token is not verified again on each request.
//!
//! Invariant: an entry is found by the hash of the whole token, is ignored once the token expires or its issuer's keys
//! change, and never contains the token itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::http::auth::VerifiedCaller;

/// Longest time that a token is cached.
pub const TOKEN_CACHE_TTL: Duration = Duration::from_secs(5 * 60);
/// Maximum number of cached tokens.
const MAX_TOKENS: usize = 8_192;
/// Maximum sum of the lengths of cached tokens. What is stored for each is of similar size.
const MAX_BYTES: usize = 16 << 20;

/// A verified token.
#[derive(Debug, Clone)]
pub struct CachedToken {
    /// The caller that it authenticates.
    pub token: VerifiedCaller,
    /// Index of its issuer in the settings.
    pub issuer: usize,
    /// Generation of the issuer's keys that verified it.
    pub generation: u64,
    /// When the entry expires, in seconds since 1970.
    pub expires_at: f64,
    /// Length of the token, in bytes.
    pub bytes: usize,
}

/// Verified tokens by their hash.
#[derive(Debug, Default)]
pub struct TokenCache(Mutex<TokenCacheState>);

#[derive(Debug, Default)]
struct TokenCacheState {
    known: HashMap<[u8; blake3::OUT_LEN], CachedToken>,
    bytes: usize,
}

impl TokenCache {
    /// The caller of the token with this hash, if it is cached at `now` and `is_current` accepts its issuer and
    /// generation.
    pub fn get(
        &self,
        hash: &blake3::Hash,
        now: f64,
        is_current: impl FnOnce(usize, u64) -> bool,
    ) -> Option<VerifiedCaller> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inner.known.get(hash.as_bytes())?;
        (now < known.expires_at && is_current(known.issuer, known.generation)).then(|| known.token.clone())
    }

    /// Inserts a token. If the cache is full, removes expired entries, and all entries if that is not enough.
    pub fn insert_token(&self, hash: blake3::Hash, known: CachedToken, now: f64) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.is_full(known.bytes) {
            inner.known.retain(|_, known| now < known.expires_at);
            inner.bytes = inner.known.values().map(|known| known.bytes).sum();
        }
        if inner.is_full(known.bytes) {
            *inner = TokenCacheState::default();
        }
        inner.bytes += known.bytes;
        if let Some(before) = inner.known.insert(hash.into(), known) {
            inner.bytes -= before.bytes;
        }
    }
}

impl TokenCacheState {
    fn is_full(&self, more: usize) -> bool {
        self.known.len() >= MAX_TOKENS || self.bytes + more > MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use ragstone_core::access::{ReaderSet, Role};
    use ragstone_core::id::TenantId;

    use super::*;

    fn known(until: f64, bytes: usize) -> CachedToken {
        let token = VerifiedCaller {
            tenant: TenantId::default(),
            subject: "u".into(),
            readers: ReaderSet::new(),
            role: Role::Reader,
            expires_at: None,
        };
        CachedToken {
            token,
            issuer: 0,
            generation: 1,
            expires_at: until,
            bytes,
        }
    }

    #[test]
    fn a_token_is_known_until_its_time_and_while_its_keys_are() {
        let remembered = TokenCache::default();
        let hash = blake3::hash(b"a");
        remembered.insert_token(hash, known(10.0, 1), 0.0);
        assert!(
            remembered
                .get(&hash, 9.9, |issuer, generation| (issuer, generation) == (0, 1))
                .is_some()
        );
        assert!(remembered.get(&hash, 10.0, |_, _| true).is_none());
        assert!(remembered.get(&hash, 9.9, |_, generation| generation == 2).is_none());
        assert!(remembered.get(&blake3::hash(b"b"), 0.0, |_, _| true).is_none());
    }

    #[test]
    fn memory_is_bounded_by_number_and_by_bytes() {
        let check = |number: usize, bytes: usize, kept: usize| {
            let remembered = TokenCache::default();
            let hash = |n: usize| blake3::hash(&n.to_le_bytes());
            for n in 0..number {
                // The first half expires at 1.
                let until = if n < number / 2 { 1.0 } else { 3.0 };
                remembered.insert_token(hash(n), known(until, bytes), 0.0);
            }
            remembered.insert_token(hash(number), known(3.0, bytes), 2.0);
            assert!(remembered.get(&hash(number), 2.0, |_, _| true).is_some());
            let inner = remembered.0.lock().unwrap();
            assert_eq!((inner.known.len(), inner.bytes), (kept, kept * bytes));
        };
        check(10, 100, 11);
        check(MAX_TOKENS, 1, MAX_TOKENS / 2 + 1);
        check(1024, MAX_BYTES / 1024, 513);
        check(MAX_TOKENS + 1, 1, 2);
    }
}
