//! Address of a service, credentials, and time limits.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Query parameter for the version of Azure's API.
const API_VERSION: &str = "api-version";

/// Suffixes of the hosts of Azure's services.
const AZURE_HOSTS: [&str; 3] = [
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
];

/// Headers that a request sets itself and that settings must not replace.
const OWN_HEADERS: [&str; 5] = [
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "connection",
];

/// Shortest header value that is redacted: shorter ones are flags such as `1` or `eu`, whose removal would only make a
/// text unreadable.
const MIN_REDACTED: usize = 6;

/// A key or password that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiSecret(String);

impl ApiSecret {
    /// Wraps a secret value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub(crate) fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Header in which the key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApiKeyHeader {
    /// `api-key` for Azure's hosts, `Authorization: Bearer` for all others.
    #[default]
    Auto,
    /// `Authorization: Bearer` for all hosts.
    Bearer,
    /// Always the header `api-key`.
    ApiKey,
}

/// Limits of time, size and retries for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Time to connect, including TLS.
    pub connect: Duration,
    /// From a request to the head of its reply; a local server may load its model first.
    pub first_byte: Duration,
    /// From the first try until the first bytes of a streamed reply, including all tries, the pauses between them and
    /// the waits that the service asks for.
    pub opening: Duration,
    /// Between two reads of a reply, and so between two tokens.
    pub idle: Duration,
    /// A whole reply, including a streamed one.
    pub total: Duration,
    /// Most bytes of a reply that is not streamed.
    pub reply_bytes: usize,
    /// Tries of a request, including the first; at least 1.
    pub tries: usize,
    /// Longest pause before the second try; it doubles with each further try. The actual pause is uniform between zero
    /// and that ("full jitter").
    pub pause: Duration,
    /// Upper limit of the doubling.
    pub longest_pause: Duration,
    /// Longest `Retry-After` that is waited for; a longer one is returned to the caller.
    pub longest_retry_after: Duration,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            opening: Duration::from_secs(600),
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

/// A service with its credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenAiConnection {
    pub(super) base: Url,
    pub(super) user: Option<(String, ApiSecret)>,
    pub(super) api_key: Option<ApiSecret>,
    pub(super) key_header: ApiKeyHeader,
    /// Headers sent with every request, besides the credentials.
    pub(super) headers: HeaderMap,
    pub(super) limits: ServiceLimits,
}

impl fmt::Debug for OpenAiConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConnection")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

/// Why a connection cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The base URL is not an http or https URL with a host.
    #[error("the base URL is not one of http or https with a host: {0}")]
    Url(String),
    /// A header cannot be sent; its value is not shown.
    #[error("the header {0:?} cannot be sent: {1}")]
    Header(String, &'static str),
    /// TLS cannot be set up.
    #[error("no connection can be made: {0}")]
    Client(String),
}

impl OpenAiConnection {
    /// A service at `base_url`, with or without `/v1` and a trailing slash. A user and password in the URL are used
    /// for basic authentication if no key is given, and are never shown.
    pub fn new(base_url: &str, api_key: Option<ApiSecret>, limits: ServiceLimits) -> Result<Self, ConnectionError> {
        let wrong = |problem: &str| ConnectionError::Url(problem.to_owned());
        let mut base = Url::parse(base_url.trim()).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(wrong("another scheme, or no host"));
        }
        let user = (!base.username().is_empty()).then(|| {
            (
                base.username().to_owned(),
                ApiSecret::new(base.password().unwrap_or_default()),
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
        let api_key = api_key.filter(|key| !key.expose_secret().is_empty());
        Ok(Self {
            base,
            user,
            api_key,
            key_header: ApiKeyHeader::Auto,
            headers: HeaderMap::new(),
            limits,
        })
    }

    /// Sends the key in the given header, whatever the host.
    pub fn with_key_header(self, key_header: ApiKeyHeader) -> Self {
        Self { key_header, ..self }
    }

    /// Uses an Azure deployment: `…/openai/deployments/NAME` in place of `/v1`.
    pub fn with_deployment(mut self, name: &str) -> Result<Self, ConnectionError> {
        let path = self.base.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path);
        let path = path.strip_suffix("/openai").unwrap_or(path).to_owned();
        self.base.set_path(&path);
        self.base
            .path_segments_mut()
            .map_err(|()| ConnectionError::Url("it has no path".to_owned()))?
            .pop_if_empty()
            .extend(["openai", "deployments", name]);
        Ok(self)
    }

    /// Sends `api-version` in the query of every request, replacing one in the base URL.
    pub fn with_api_version(mut self, version: &str) -> Self {
        let others: Vec<(String, String)> = self
            .base
            .query_pairs()
            .filter(|(name, _)| name != API_VERSION)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        self.base
            .query_pairs_mut()
            .clear()
            .extend_pairs(others)
            .append_pair(API_VERSION, version);
        self
    }

    /// Sends these headers with every request; their values are never shown.
    pub fn with_headers(
        mut self,
        headers: impl IntoIterator<Item = (String, ApiSecret)>,
    ) -> Result<Self, ConnectionError> {
        for (name, value) in headers {
            let wrong = |why| ConnectionError::Header(name.clone(), why);
            let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("it is no header's name"))?;
            if OWN_HEADERS.contains(&known.as_str()) {
                return Err(wrong("it belongs to the request itself"));
            }
            let mut value = HeaderValue::from_str(value.expose_secret())
                .map_err(|_| wrong("its value is not one line of plain characters"))?;
            value.set_sensitive(true);
            self.headers.insert(known, value);
        }
        Ok(self)
    }

    /// The base URL without credentials or query.
    pub fn endpoint(&self) -> String {
        let mut shown = self.base.clone();
        shown.set_query(None);
        shown.to_string()
    }

    pub(super) fn request_url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path()));
        url
    }

    pub(crate) fn limits(&self) -> &ServiceLimits {
        &self.limits
    }

    pub(crate) fn max_tries(&self) -> usize {
        self.limits.tries
    }

    pub(crate) fn first_byte_timeout(&self) -> Duration {
        self.limits.first_byte
    }

    /// Whether the key is sent in the header `api-key`.
    pub(super) fn sends_api_key_header(&self) -> bool {
        let is_azure = |host: &str| AZURE_HOSTS.iter().any(|suffix| host.ends_with(suffix));
        match self.key_header {
            ApiKeyHeader::Auto => self.base.host_str().is_some_and(is_azure),
            ApiKeyHeader::Bearer => false,
            ApiKeyHeader::ApiKey => true,
        }
    }

    /// Whether the host is OpenAI's own.
    pub(crate) fn is_openai(&self) -> bool {
        self.base.host_str() == Some("api.openai.com")
    }

    /// Replaces all secrets in `text`.
    pub(super) fn redact(&self, text: &str) -> String {
        let password = self.user.iter().map(|(_, password)| password);
        let secrets = self.api_key.iter().chain(password).map(ApiSecret::expose_secret);
        let headers = self.headers.values().filter_map(|value| value.to_str().ok());
        secrets
            .chain(headers.filter(|value| value.len() >= MIN_REDACTED))
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
            let connection = OpenAiConnection::new(base, None, ServiceLimits::default()).unwrap();
            assert_eq!(connection.request_url("embeddings").as_str(), expected);
        };
        check("http://localhost:11434", "http://localhost:11434/v1/embeddings");
        check("http://localhost:11434/", "http://localhost:11434/v1/embeddings");
        check("https://api.openai.com/v1", "https://api.openai.com/v1/embeddings");
        check(" https://api.openai.com/v1// ", "https://api.openai.com/v1/embeddings");
        check("https://x.test/api/openai", "https://x.test/api/openai/embeddings");
        check(
            "https://x.test/v1?api-version=1",
            "https://x.test/v1/embeddings?api-version=1",
        );
        check("http://user:pass@h/v1", "http://h/v1/embeddings");
        for wrong in ["", "localhost:8080", "ftp://h", "file:///x", "http://"] {
            assert!(
                OpenAiConnection::new(wrong, None, ServiceLimits::default()).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_deployment_and_its_version_stand_in_the_address() {
        let check = |base: &str, expected: &str| {
            let connection = OpenAiConnection::new(base, None, ServiceLimits::default()).unwrap();
            let connection = connection.with_deployment("my gpt").unwrap();
            let connection = connection.with_api_version("2024-10-21");
            assert_eq!(connection.request_url("chat/completions").as_str(), expected, "{base}");
        };
        let expected = "https://x.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21";
        check("https://x.openai.azure.com", expected);
        check("https://x.openai.azure.com/", expected);
        check("https://x.openai.azure.com/openai", expected);
        check("https://x.openai.azure.com/openai/v1?api-version=1", expected);
        check(
            "https://gateway.test/azure/v1?team=a",
            "https://gateway.test/azure/openai/deployments/my%20gpt/chat/completions?team=a&api-version=2024-10-21",
        );
    }

    #[test]
    fn a_key_goes_into_the_header_that_its_host_reads() {
        let check = |base: &str, set: ApiKeyHeader, expected: bool| {
            let connection = OpenAiConnection::new(base, None, ServiceLimits::default()).unwrap();
            let sends = connection.with_key_header(set).sends_api_key_header();
            assert_eq!(sends, expected, "{base} {set:?}");
        };
        check("https://x.openai.azure.com", ApiKeyHeader::Auto, true);
        check("https://api.openai.com", ApiKeyHeader::Auto, false);
        check("https://openai.azure.com.evil.test", ApiKeyHeader::Auto, false);
        check("https://gateway.test", ApiKeyHeader::ApiKey, true);
        check("https://x.openai.azure.com", ApiKeyHeader::Bearer, false);
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
        for (name, value) in [
            ("x y", "very-secret"),
            ("x-team", "very-secret\nx: y"),
            ("Host", "very-secret"),
            ("content-length", "very-secret"),
        ] {
            let connection = OpenAiConnection::new("http://h", None, ServiceLimits::default()).unwrap();
            let error = connection.with_headers([(name.to_owned(), ApiSecret::new(value))]);
            let shown = error.unwrap_err().to_string();
            assert!(shown.contains(name) && !shown.contains("very-secret"), "{shown}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = ApiSecret::new("sk-very-secret");
        let connection =
            OpenAiConnection::new("http://user:pa55@h/v1?token=t0k", Some(key), ServiceLimits::default()).unwrap();
        let headers = [("x-org".to_owned(), ApiSecret::new("0rg-t0ken"))];
        let connection = connection.with_headers(headers).unwrap();
        let shown = format!(
            "{connection:?} {}",
            connection.redact("key sk-very-secret, password pa55, header 0rg-t0ken")
        );
        for secret in ["very-secret", "pa55", "t0k", "0rg"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
