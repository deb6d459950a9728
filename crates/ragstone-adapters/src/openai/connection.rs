//! Where a service is, how to prove who asks, and how long to wait for it.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

/// A key or password that no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `value` from being shown.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// How long a service may take, how much it may send, and how often it is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From a request to the head of its reply; a local server may load its model first.
    pub first_byte: Duration,
    /// Between two pieces of a reply, so between two tokens.
    pub idle: Duration,
    /// A whole reply, a streamed one too.
    pub total: Duration,
    /// Bytes of a reply that is read whole.
    pub reply_bytes: usize,
    /// Tries of a request in all, at least 1.
    pub tries: usize,
    /// The longest pause before the second try; it doubles with each further one. The pause is drawn evenly from
    /// nothing to that ("full jitter").
    pub pause: Duration,
    /// Where the doubling stops.
    pub longest_pause: Duration,
    /// The longest `Retry-After` that is waited for; a longer one is handed to the caller.
    pub longest_retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(600),
            reply_bytes: 128 << 20,
            tries: 4,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(20),
            longest_retry_after: Duration::from_secs(60),
        }
    }
}

/// A service and the right to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    pub(super) base: Url,
    pub(super) user: Option<(String, Secret)>,
    pub(super) api_key: Option<Secret>,
    pub(super) limits: Limits,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

/// Why a base URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// It is no URL of http or https with a host.
    #[error("the base URL is not one of http or https with a host: {0}")]
    Url(String),
    /// TLS cannot be set up.
    #[error("no connection can be made: {0}")]
    Client(String),
}

impl Connection {
    /// A service at `base_url`, with or without `/v1` and a slash at its end. A user and password in it become basic
    /// authentication where no key is given, and are never shown.
    pub fn new(base_url: &str, api_key: Option<Secret>, limits: Limits) -> Result<Self, ConnectionError> {
        let wrong = |problem: &str| ConnectionError::Url(problem.to_owned());
        let mut base = Url::parse(base_url.trim()).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(wrong("another scheme, or no host"));
        }
        let user = (!base.username().is_empty()).then(|| {
            (
                base.username().to_owned(),
                Secret::new(base.password().unwrap_or_default()),
            )
        });
        base.set_username("")
            .and_then(|()| base.set_password(None))
            .map_err(|()| wrong("no host"))?;
        base.set_fragment(None);
        let path = match base.path().trim_end_matches('/') {
            "" => "/v1".to_owned(),
            path => path.to_owned(),
        };
        base.set_path(&path);
        let api_key = api_key.filter(|key| !key.expose().is_empty());
        Ok(Self {
            base,
            user,
            api_key,
            limits,
        })
    }

    /// Where text is sent, without credentials or query.
    pub fn endpoint(&self) -> String {
        let mut shown = self.base.clone();
        shown.set_query(None);
        shown.to_string()
    }

    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path()));
        url
    }

    pub(crate) fn tries(&self) -> usize {
        self.limits.tries
    }

    pub(crate) fn first_byte(&self) -> Duration {
        self.limits.first_byte
    }

    /// Whether the host is OpenAI's own.
    pub(crate) fn is_openai(&self) -> bool {
        self.base.host_str() == Some("api.openai.com")
    }

    /// `text` without any of the secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        let password = self.user.iter().map(|(_, password)| password);
        let secrets = self.api_key.iter().chain(password).map(Secret::expose);
        secrets
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "[redacted]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_taken_as_people_write_them() {
        let check = |base: &str, expected: &str| {
            let connection = Connection::new(base, None, Limits::default()).unwrap();
            assert_eq!(connection.url("embeddings").as_str(), expected);
        };
        check("http://localhost:11434", "http://localhost:11434/v1/embeddings");
        check("http://localhost:11434/", "http://localhost:11434/v1/embeddings");
        check(
            "https://api.openai.com/v1",
            "https://api.openai.com/v1/embeddings",
        );
        check(
            " https://api.openai.com/v1// ",
            "https://api.openai.com/v1/embeddings",
        );
        check(
            "https://x.test/api/openai",
            "https://x.test/api/openai/embeddings",
        );
        check(
            "https://x.test/v1?api-version=1",
            "https://x.test/v1/embeddings?api-version=1",
        );
        check("http://user:pass@h/v1", "http://h/v1/embeddings");
        for wrong in ["", "localhost:8080", "ftp://h", "file:///x", "http://"] {
            assert!(
                Connection::new(wrong, None, Limits::default()).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = Secret::new("sk-very-secret");
        let connection =
            Connection::new("http://user:pa55@h/v1?token=t0k", Some(key), Limits::default()).unwrap();
        let shown = format!(
            "{connection:?} {}",
            connection.redact("key sk-very-secret, password pa55")
        );
        for secret in ["very-secret", "pa55", "t0k"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
