//! Requests with limits and retries.
//!
//! Invariant: no redirect is followed, so a key is sent to its service only; no error contains a key, a password or a
//! URL.

use std::error::Error as _;
use std::sync::Once;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::connection::{ConnectionError, OpenAiConnection, ServiceLimits};
use super::fault::ServiceError;
use super::pieces::ReplyBodyReader;

/// Idle connections kept per host.
const IDLE_CONNECTIONS: usize = 16;

/// Key header of Azure and of gateways with the same convention.
const API_KEY_HEADER: &str = "api-key";

/// Most bytes of an error body that are read.
const ERROR_BYTES: usize = 64 << 10;

/// HTTP client of one service.
#[derive(Debug, Clone)]
pub(crate) struct OpenAiClient {
    http: reqwest::Client,
    connection: OpenAiConnection,
}

impl OpenAiClient {
    pub fn new(connection: OpenAiConnection) -> Result<Self, ConnectionError> {
        static PROVIDER: Once = Once::new();
        // An error means that the process has installed a provider already, which is just as good.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(connection.limits.connect)
                .timeout(connection.limits.total)
                .redirect(Policy::none())
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .tcp_nodelay(true)
                .user_agent(concat!("ragstone/", env!("CARGO_PKG_VERSION")))
        };
        let plain = connection.base.scheme() == "http";
        // Minimal container images have no root certificates; a server without TLS needs none.
        let http = match builder().build() {
            Err(_) if plain => builder().tls_certs_only([]).build(),
            built => built,
        };
        match http {
            Ok(http) => Ok(Self { http, connection }),
            Err(error) => Err(ConnectionError::Client(describe_error(&error.without_url()))),
        }
    }

    /// Posts `body` and parses the whole reply by `read`. Makes at most `tries` tries, as long as each error
    /// `may_pass`.
    pub async fn post_json<T>(
        &self,
        path: &str,
        body: &impl Serialize,
        tries: usize,
        may_pass: impl FnMut(&ServiceError) -> bool,
        read: impl Fn(&[u8]) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let once = || async {
            let reply = self.send_once(path, body, None).await?;
            let bytes = self.read_body(reply, self.connection.limits.reply_bytes).await?;
            read(&bytes)
        };
        self.with_retry(tries, may_pass, None, once).await
    }

    /// Returns the reply once its status is 200; the caller reads the body. Errors that are `is_final` are not
    /// retried, nor is anything if the wait before the next try would end after `deadline`.
    pub async fn open_reply(
        &self,
        path: &str,
        body: &impl Serialize,
        is_final: impl Fn(&ServiceError) -> bool,
        deadline: Instant,
    ) -> Result<Response, ServiceError> {
        let may_pass = |fault: &ServiceError| fault.is_transient() && !is_final(fault);
        let tries = self.connection.limits.tries;
        let once = || self.send_once(path, body, Some(deadline));
        self.with_retry(tries, may_pass, Some(deadline), once).await
    }

    /// Time and size limits of the service.
    pub(super) fn limits(&self) -> &ServiceLimits {
        &self.connection.limits
    }

    /// Removes secrets from `detail`.
    pub fn redact(&self, detail: &str) -> String {
        self.connection.redact(detail)
    }

    async fn with_retry<T, F: Future<Output = Result<T, ServiceError>>>(
        &self,
        tries: usize,
        may_pass: impl FnMut(&ServiceError) -> bool,
        deadline: Option<Instant>,
        once: impl FnMut() -> F,
    ) -> Result<T, ServiceError> {
        let in_time = |wait: &Duration| deadline.is_none_or(|deadline| Instant::now() + *wait < deadline);
        let limits = &self.connection.limits;
        let pauses = ExponentialBuilder::new()
            .with_min_delay(limits.pause)
            .with_max_delay(limits.longest_pause)
            .with_max_times(tries.saturating_sub(1));
        once.retry(pauses)
            .when(may_pass)
            .adjust(|fault, pause| {
                let wait = match (pause, fault.retry_after()) {
                    (None, _) => None,
                    (Some(pause), None) => Some(jittered_pause(pause)),
                    // Other clients were given the same `Retry-After`: add jitter to come a little later.
                    (Some(pause), Some(after)) => {
                        (after <= limits.longest_retry_after).then(|| after + jittered_pause(pause))
                    }
                };
                wait.filter(in_time)
            })
            .await
    }

    /// One try, which ends at `deadline` if there is one.
    async fn send_once(
        &self,
        path: &str,
        body: &impl Serialize,
        deadline: Option<Instant>,
    ) -> Result<Response, ServiceError> {
        let first_byte = self.connection.limits.first_byte;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.map_or(first_byte, |left| left.min(first_byte));
        let request = self
            .add_credentials(self.http.post(self.connection.request_url(path)))
            .json(body);
        let reply = match timeout(limit, request.send()).await {
            Ok(reply) => reply.map_err(|error| self.transport_error(error))?,
            Err(_) => {
                let seconds = limit.as_secs_f64();
                return Err(ServiceError::broken(format!("it did not answer within {seconds:.1} s")));
            }
        };
        let (status, headers) = (reply.status(), reply.headers().clone());
        if status.is_success() {
            return Ok(reply);
        }
        let body = self.read_body(reply, ERROR_BYTES).await.unwrap_or_default();
        let body = self.redact(&String::from_utf8_lossy(&body));
        Err(ServiceError::from_reply(status, &headers, &body))
    }

    fn add_credentials(&self, request: RequestBuilder) -> RequestBuilder {
        let connection = &self.connection;
        let request = match (&connection.api_key, &connection.user) {
            (Some(key), _) if connection.sends_api_key_header() => request.header(API_KEY_HEADER, key.expose_secret()),
            (Some(key), _) => request.bearer_auth(key.expose_secret()),
            (None, Some((user, password))) => request.basic_auth(user, Some(password.expose_secret())),
            (None, None) => request,
        };
        connection
            .headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value))
    }

    async fn read_body(&self, mut reply: Response, most: usize) -> Result<Vec<u8>, ServiceError> {
        let mut bytes = Vec::new();
        let mut pieces = ReplyBodyReader::new(self, &mut reply, None);
        while let Some(piece) = pieces.next().await? {
            if bytes.len() + piece.len() > most {
                return Err(ServiceError::refused(format!("its reply is longer than {most} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    pub(super) fn transport_error(&self, error: reqwest::Error) -> ServiceError {
        let error = error.without_url();
        match error.is_builder() {
            true => ServiceError::refused("the request cannot be made: is the key one line of plain characters?"),
            false => ServiceError::broken(self.redact(&describe_error(&error))),
        }
    }
}

/// An error with its causes, in one line.
fn describe_error(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words = format!("{words}: {next}");
        cause = next.source();
    }
    words
}

/// A random pause up to `longest`, so that clients that failed together do not retry together.
fn jittered_pause(longest: Duration) -> Duration {
    longest.mul_f64(fastrand::f64())
}
