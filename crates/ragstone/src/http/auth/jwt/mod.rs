//! Bearer tokens (JWT, OpenID Connect): authenticates callers whose tokens a configured issuer signed.
//!
//! Invariant: keys and their algorithms come from the issuer's settings and its own key set, never from the token; a
//! token that fails any check is refused, and neither it nor the value of a claim is logged.

mod claims;
mod fetch;
mod key;
mod keys;
mod remembered;
mod token;
mod unique;

use std::sync::Arc;

use ragstone_core::ingest::{TimeProvider, WallClockFn};
use time::OffsetDateTime;

use super::VerifiedCaller;
use crate::config;
use fetch::{KeyFetchError, KeySource};
use keys::IssuerKeyCache;
pub use keys::REFETCH_INTERVAL;
use remembered::{CachedToken, TOKEN_CACHE_TTL, TokenCache};
use token::ParsedToken;

/// The configured token issuers, with a cache of verified tokens.
pub struct TokenIssuers {
    issuers: Vec<TokenIssuer>,
    remembered: TokenCache,
    clock: WallClockFn,
}

struct TokenIssuer {
    settings: config::IssuerSettings,
    keys: Arc<IssuerKeyCache>,
}

/// Why a token was refused. For the log only; the caller gets a 401 without the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token is not three parts of base64url, the first two of them JSON objects.
    #[error("it is malformed")]
    Malformed,
    /// The token is longer than the maximum.
    #[error("it has more than {} bytes", token::MAX_TOKEN_BYTES)]
    TooLong,
    /// `alg` is `none`, a symmetric algorithm, or another one that is not accepted.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// The header has `crit`: an extension that must be understood (RFC 7515, 4.1.11).
    #[error("it has critical extensions")]
    Critical,
    /// `typ` says that the token was made for another use.
    #[error("its type is not one that speaks for a caller")]
    Type,
    /// `iss` is none of the configured issuers.
    #[error("its issuer is not one of the settings'")]
    Issuer,
    /// No key of the issuer matches, or several do.
    #[error("no key of its issuer fits")]
    Key,
    /// The signature is not the issuer's.
    #[error("its signature is not its issuer's")]
    Signature,
    /// `exp` is in the past, clock skew included.
    #[error("it has expired")]
    Expired,
    /// `nbf` or `iat` is in the future, clock skew included.
    #[error("it is from the future")]
    NotYet,
    /// `aud` names other services only.
    #[error("it is for another audience")]
    Audience,
    /// This claim is missing or has the wrong JSON type.
    #[error("its claim {0} is missing, or of another form than expected")]
    Claim(String),
    /// This claim has more values than allowed.
    #[error("its claim {0} has too many values")]
    TooMany(String),
    /// The issuer's keys cannot be fetched; the only reason that is temporary.
    #[error("the keys of its issuer cannot be fetched")]
    NoKeys,
}

/// The settings of an issuer are unusable.
#[derive(Debug, thiserror::Error)]
#[error("issuer {issuer}: {reason}")]
pub struct IssuerError {
    issuer: String,
    reason: KeyFetchError,
}

impl TokenIssuers {
    /// Makes the issuers of the settings; `None` if there are none. Fetches nothing yet.
    pub fn new(settings: &[config::IssuerSettings], time: &TimeProvider) -> Result<Option<Self>, IssuerError> {
        let issuers: Vec<TokenIssuer> = settings
            .iter()
            .map(|settings| TokenIssuer::new(settings, time))
            .collect::<Result<_, _>>()?;
        Ok((!issuers.is_empty()).then(|| Self {
            issuers,
            remembered: TokenCache::default(),
            clock: time.wall.clone(),
        }))
    }

    /// Starts to fetch all keys in the background, so that the first caller does not wait for them.
    pub fn prefetch_keys(&self) {
        self.issuers.iter().for_each(|issuer| issuer.keys.prefetch_keys());
    }

    /// Whether a bearer's text looks like a token (three parts) rather than an API key.
    pub fn has_token_form(bearer: &str) -> bool {
        bearer.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Verifies `token` and returns its caller. May wait a few seconds for the issuer's keys if they are not known yet.
    pub async fn verify_token(&self, token: &str) -> Result<VerifiedCaller, TokenError> {
        if token.len() > token::MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (hash, now) = (blake3::hash(token.as_bytes()), self.unix_seconds());
        let is_current = |issuer: usize, generation| self.issuers[issuer].keys.current_generation() == Some(generation);
        if let Some(known) = self.remembered.get(&hash, now, is_current) {
            return Ok(known);
        }
        let (verified, known) = self.verify_uncached(token).await?;
        self.remembered.insert_token(hash, known, now);
        Ok(verified)
    }

    async fn verify_uncached(&self, text: &str) -> Result<(VerifiedCaller, CachedToken), TokenError> {
        let token = token::parse_token(text)?;
        let named = token.claims.get("iss").and_then(serde_json::Value::as_str);
        let place = self
            .issuers
            .iter()
            .position(|issuer| named == Some(&issuer.settings.issuer));
        let place = place.ok_or(TokenError::Issuer)?;
        let issuer = &self.issuers[place];
        let generation = issuer.verify_signature(&token).await?;
        let now = self.unix_seconds();
        let ends = issuer.check_claims(&token, now)?;
        let verified = VerifiedCaller {
            expires_at: time_from_unix(ends),
            ..claims::caller_from_claims(&token.claims, &issuer.settings)?
        };
        let known = CachedToken {
            token: verified.clone(),
            issuer: place,
            generation,
            expires_at: ends.min(now + TOKEN_CACHE_TTL.as_secs_f64()),
            bytes: text.len(),
        };
        Ok((verified, known))
    }

    /// The current time in seconds since 1970, with fraction.
    fn unix_seconds(&self) -> f64 {
        let now = (self.clock)();
        now.unix_timestamp() as f64 + f64::from(now.nanosecond()) / 1e9
    }
}

impl TokenIssuer {
    fn new(settings: &config::IssuerSettings, time: &TimeProvider) -> Result<Self, IssuerError> {
        let source = KeySource::new(settings).map_err(|reason| IssuerError {
            issuer: settings.issuer.clone(),
            reason,
        })?;
        Ok(Self::with_source(settings, source, time))
    }

    fn with_source(settings: &config::IssuerSettings, source: KeySource, time: &TimeProvider) -> Self {
        let (name, algorithms) = (settings.issuer.clone(), settings.algorithms.clone());
        Self {
            settings: settings.clone(),
            keys: Arc::new(IssuerKeyCache::new(name, algorithms, source, time.steady.clone())),
        }
    }

    async fn verify_signature(&self, token: &ParsedToken<'_>) -> Result<u64, TokenError> {
        if !self.settings.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm);
        }
        let key = (token.key_id.as_deref(), token.algorithm);
        self.keys.verify_signature(key, token.signed, &token.signature).await
    }

    /// Checks audience and times; returns when the token expires, in seconds since 1970, clock skew included.
    fn check_claims(&self, token: &ParsedToken<'_>, now: f64) -> Result<f64, TokenError> {
        claims::check_audience(&token.claims, &self.settings.audience)?;
        claims::check_times(&token.claims, now, self.settings.clock_skew_seconds as f64)
    }
}

/// Converts seconds since 1970; `None` beyond the range of `OffsetDateTime`.
fn time_from_unix(seconds: f64) -> Option<OffsetDateTime> {
    // The cast saturates, and the largest `i128` is out of range, so the result is `None`.
    OffsetDateTime::from_unix_timestamp_nanos((seconds * 1e9) as i128).ok()
}

impl std::fmt::Debug for TokenIssuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.issuers.iter().map(|issuer| &issuer.settings.issuer);
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
pub(in crate::http) mod tests;
