//! Fetches an issuer's keys: discovery (OpenID Connect Discovery 1.0) unless a key set URL is configured, then the key
//! set.
//!
//! Invariant: requests go only to URLs of the settings or of the issuer's own discovery document; redirects are not
//! followed; no content of a token influences a URL.

use std::sync::Once;
use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::key::{IssuerKey, Jwk};
use crate::config::{IssuerSettings, is_loopback, parse_key_url};

/// Time limit to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest response body, in bytes.
const MAX_BODY_BYTES: usize = 256 << 10;
/// Keys of a set that are read; further ones are ignored.
const MAX_KEYS: usize = 100;
/// Bounds of the time that keys are cached, whatever `Cache-Control` says.
const MIN_AGE: Duration = Duration::from_secs(5 * 60);
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long keys are cached if `Cache-Control` gives no age.
const DEFAULT_AGE: Duration = Duration::from_secs(60 * 60);

/// Where the keys of one issuer come from.
#[derive(Debug)]
pub struct KeySource {
    http: Client,
    issuer: String,
    /// URL of the key set; `None` for discovery.
    keys: Option<Url>,
    /// Whether `http` URLs are allowed: only if the settings themselves name a loopback address.
    plain: bool,
}

/// The result of one fetch.
#[derive(Debug)]
pub struct FetchedKeys {
    /// The keys that can be used.
    pub keys: Vec<IssuerKey>,
    /// How long they may be cached.
    pub max_age: Duration,
}

/// Why keys could not be fetched. Contains neither URLs nor response bodies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFetchError {
    /// The request failed; the text has all causes.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The status is not 200; redirects are included.
    #[error("it answered with status {0}")]
    Status(u16),
    /// The body is longer than the maximum.
    #[error("its answer has more than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// The body is not the expected document, which is named.
    #[error("its answer is not a {0}")]
    Malformed(&'static str),
    /// `issuer` of the discovery document is another issuer.
    #[error("its discovery document names another issuer")]
    OtherIssuer,
    /// `jwks_uri` of the discovery document is not an allowed URL.
    #[error("its discovery document names keys at an address that {0}")]
    Address(String),
}

#[derive(Deserialize)]
struct DiscoveryDocument {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

impl KeySource {
    /// The source for an issuer's settings.
    pub fn new(settings: &IssuerSettings) -> Result<Self, KeyFetchError> {
        Self::with_timeout(settings, REQUEST_TIMEOUT)
    }

    /// As [`Self::new`], with another time limit for a request.
    pub fn with_timeout(settings: &IssuerSettings, total: Duration) -> Result<Self, KeyFetchError> {
        let keys = match settings.jwks_url.as_str() {
            "" => None,
            url => Some(parse_key_url(url).map_err(KeyFetchError::Address)?),
        };
        let named = keys.clone().or_else(|| settings.issuer.parse().ok());
        let plain = named.is_some_and(|url| is_loopback(&url));
        Ok(Self {
            http: build_client(plain, total)?,
            issuer: settings.issuer.clone(),
            keys,
            plain,
        })
    }

    /// Fetches the current keys.
    pub async fn fetch_keys(&self) -> Result<FetchedKeys, KeyFetchError> {
        let url = match &self.keys {
            Some(url) => url.clone(),
            None => self.discover_key_url().await?,
        };
        let (headers, set): (_, JwkSet) = self.fetch_json(url, "key set").await?;
        let keys = set.keys.into_iter().take(MAX_KEYS);
        Ok(FetchedKeys {
            keys: keys.filter_map(|jwk| usable_key(&self.issuer, jwk)).collect(),
            max_age: max_age(&headers),
        })
    }

    async fn discover_key_url(&self) -> Result<Url, KeyFetchError> {
        let base = self.issuer.trim_end_matches('/');
        let url = parse_key_url(&format!("{base}/.well-known/openid-configuration")).map_err(KeyFetchError::Address)?;
        let (_, found): (_, DiscoveryDocument) = self.fetch_json(url, "discovery document").await?;
        if found.issuer != self.issuer {
            return Err(KeyFetchError::OtherIssuer);
        }
        let url = parse_key_url(&found.jwks_uri).map_err(KeyFetchError::Address)?;
        match url.scheme() == "https" || self.plain {
            true => Ok(url),
            false => Err(KeyFetchError::Address("is this machine's".into())),
        }
    }

    async fn fetch_json<T: DeserializeOwned>(
        &self,
        url: Url,
        what: &'static str,
    ) -> Result<(HeaderMap, T), KeyFetchError> {
        let request = self.http.get(url).header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(unreachable_error)?;
        if response.status() != StatusCode::OK {
            return Err(KeyFetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable_error)? {
            if body.len() + part.len() > MAX_BODY_BYTES {
                return Err(KeyFetchError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        let document = serde_json::from_slice(&body).map_err(|_| KeyFetchError::Malformed(what))?;
        Ok((response.headers().clone(), document))
    }
}

fn build_client(plain: bool, total: Duration) -> Result<Client, KeyFetchError> {
    static PROVIDER: Once = Once::new();
    // An error means that the process has installed a provider already, which is used then.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let builder = || {
        Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(total)
            .redirect(Policy::none())
            .https_only(!plain)
            .user_agent(concat!("ragstone/", env!("CARGO_PKG_VERSION")))
    };
    let built = match plain {
        // Loopback is never reached through a proxy, and the second attempt works in images without CA certificates.
        true => builder()
            .no_proxy()
            .build()
            .or_else(|_| builder().no_proxy().tls_certs_only([]).build()),
        false => builder().build(),
    };
    built.map_err(unreachable_error)
}

fn usable_key(issuer: &str, jwk: serde_json::Value) -> Option<IssuerKey> {
    let key = serde_json::from_value::<Jwk>(jwk).map_err(|_| super::key::IssuerKeyError::Malformed);
    key.and_then(IssuerKey::from_jwk)
        .inspect_err(|reason| tracing::debug!(issuer, %reason, "a key of an issuer is not used"))
        .ok()
}

/// Joins an error with all its causes, without the URL.
fn unreachable_error(error: reqwest::Error) -> KeyFetchError {
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    KeyFetchError::Unreachable(words.join(": "))
}

/// The age from `Cache-Control` (RFC 9111, 5.2.2), within the bounds.
fn max_age(headers: &HeaderMap) -> Duration {
    let said = headers.get_all(CACHE_CONTROL).into_iter();
    let said: Vec<String> = said
        .filter_map(|value| Some(value.to_str().ok()?.to_ascii_lowercase()))
        .collect();
    let mut directives = said.iter().flat_map(|value| value.split(',')).map(str::trim);
    if directives.clone().any(|one| matches!(one, "no-store" | "no-cache")) {
        return MIN_AGE;
    }
    let seconds = directives.find_map(|one| one.strip_prefix("max-age=")?.trim_matches('"').parse().ok());
    seconds.map_or(DEFAULT_AGE, Duration::from_secs).clamp(MIN_AGE, MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_as_long_as_the_issuer_says_within_bounds() {
        let check = |said: &[&str], expected: Duration| {
            let mut headers = HeaderMap::new();
            for value in said {
                headers.append(CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(max_age(&headers), expected, "{said:?}");
        };
        check(&[], DEFAULT_AGE);
        check(&["public, max-age=600, must-revalidate"], Duration::from_secs(600));
        check(&["public", "Max-Age=\"700\""], Duration::from_secs(700));
        check(&["max-age=0"], MIN_AGE);
        check(&["no-store, max-age=600"], MIN_AGE);
        check(&["max-age=99999999999"], MAX_AGE);
        check(&["max-age=soon", "s-maxage=9"], DEFAULT_AGE);
    }
}
