//! Tokens (JWT, OpenID Connect): whoever one of the issuers vouches for becomes a caller.
//!
//! Invariant: a key and its algorithm come from the issuer's settings and from its own key set, never from the token; a
//! token that is not beyond doubt is refused, and neither it nor a claim's value reaches a log.

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

/// Everyone who may vouch for a caller.
pub struct TokenIssuers {
    issuers: Vec<TokenIssuer>,
    remembered: TokenCache,
    clock: WallClockFn,
}

struct TokenIssuer {
    settings: config::IssuerSettings,
    keys: Arc<IssuerKeyCache>,
}

/// Why a token was refused. For the log; a caller is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url, the first two of them JSON objects.
    #[error("it is malformed")]
    Malformed,
    /// More bytes than are read.
    #[error("it has more than {} bytes", token::MAX_TOKEN_BYTES)]
    TooLong,
    /// `none`, a symmetric one, or another one that is not accepted.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// An extension that it says must be understood.
    #[error("it has critical extensions")]
    Critical,
    /// A token for another use.
    #[error("its type is not one that speaks for a caller")]
    Type,
    /// Nobody who may vouch for a caller.
    #[error("its issuer is not one of the settings'")]
    Issuer,
    /// No key of the issuer fits, or several do.
    #[error("no key of its issuer fits")]
    Key,
    /// Not signed by the issuer.
    #[error("its signature is not its issuer's")]
    Signature,
    /// It was good once.
    #[error("it has expired")]
    Expired,
    /// It is not good yet.
    #[error("it is from the future")]
    NotYet,
    /// Made for another service.
    #[error("it is for another audience")]
    Audience,
    /// This claim is missing or has another form than it should.
    #[error("its claim {0} is missing, or of another form than expected")]
    Claim(String),
    /// This claim has more values than are read.
    #[error("its claim {0} has too many values")]
    TooMany(String),
    /// The issuer's keys cannot be had; the one reason that may pass.
    #[error("the keys of its issuer cannot be fetched")]
    NoKeys,
}

/// An issuer that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("issuer {issuer}: {reason}")]
pub struct IssuerError {
    issuer: String,
    reason: KeyFetchError,
}

impl TokenIssuers {
    /// The issuers of the settings; none where they name none. Nothing is fetched yet.
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

    /// Begins to fetch all keys, so that the first caller need not wait for them.
    pub fn prefetch_keys(&self) {
        self.issuers.iter().for_each(|issuer| issuer.keys.prefetch_keys());
    }

    /// Whether a bearer's text has the form of a token, three parts, rather than that of a key.
    pub fn has_token_form(bearer: &str) -> bool {
        bearer.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Whom `token` speaks for. Waits for an issuer's keys if they are not known yet, a few seconds at most.
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

    /// Seconds since 1970.
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

    /// When the token ends, in seconds since 1970.
    fn check_claims(&self, token: &ParsedToken<'_>, now: f64) -> Result<f64, TokenError> {
        claims::check_audience(&token.claims, &self.settings.audience)?;
        claims::check_times(&token.claims, now, self.settings.clock_skew_seconds as f64)
    }
}

/// A time in seconds since 1970; none where it is later than any clock will show.
fn time_from_unix(seconds: f64) -> Option<OffsetDateTime> {
    // A cast of what is too large gives the largest number, which is no time.
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
