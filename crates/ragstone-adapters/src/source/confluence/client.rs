//! HTTP client of one Confluence: limits concurrent requests, pauses all of them when asked to, and retries.
//!
//! Invariant: the credentials are sent to their own host only, and appear in no error.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use futures::StreamExt;
use ragstone_core::seam::source::{ItemContent, SourceError};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

use super::ConfluenceCredentials;
use crate::openai::{ApiSecret, ServiceError};
use crate::source::guard::{FetchGuard, GuardError, GuardedResponse};

/// Most concurrent requests, whatever the settings say.
pub const MAX_AT_ONCE: usize = 16;
/// Most bytes of an answer that is not a file.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Most bytes of an error's text that are read.
const MAX_ERROR_BYTES: usize = 16 << 10;
/// Most redirects of a download.
const MAX_REDIRECTS: usize = 3;
/// Most pages of one list; more is a list that does not end.
const MAX_LIST_PAGES: usize = 100_000;

/// Timeouts and retries of requests to Confluence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfluenceRetrySettings {
    /// Longest time to connect, TLS included.
    pub connect: Duration,
    /// Longest time for an answer that is not a file, and between two pieces of a file.
    pub answer: Duration,
    /// Most attempts of a request, at least 1.
    pub tries: usize,
    /// Longest pause before the second attempt; it doubles with each further one.
    pub pause: Duration,
    /// Longest `Retry-After` that is respected; after a longer one the request fails.
    pub longest_pause: Duration,
}

impl Default for ConfluenceRetrySettings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            tries: 6,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(300),
        }
    }
}

/// Client of the REST API of one Confluence.
pub(super) struct ConfluenceClient {
    http: reqwest::Client,
    /// Base URL, without a slash at its end.
    base: Url,
    credentials: ConfluenceCredentials,
    retry_settings: ConfluenceRetrySettings,
    in_flight: Semaphore,
    /// Whether Confluence has refused the credentials (401).
    signed_out: AtomicBool,
    /// No request is sent before this moment.
    not_before: Mutex<Option<Instant>>,
    /// Fetches files that Confluence keeps on other hosts.
    guard: FetchGuard,
}

impl ConfluenceClient {
    pub fn new(
        base: Url,
        credentials: ConfluenceCredentials,
        at_once: usize,
        patience: ConfluenceRetrySettings,
        guard: FetchGuard,
    ) -> Result<Self, SourceError> {
        let http = reqwest::Client::builder()
            .connect_timeout(patience.connect)
            .read_timeout(patience.answer)
            .redirect(Policy::none())
            .user_agent(concat!("ragstone/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SourceError::Broken(error.without_url().to_string()))?;
        Ok(Self {
            http,
            base,
            credentials,
            retry_settings: patience,
            in_flight: Semaphore::new(at_once.clamp(1, MAX_AT_ONCE)),
            signed_out: AtomicBool::new(false),
            not_before: Mutex::new(None),
            guard,
        })
    }

    /// Whether the credentials were refused, so that every other request would fail too.
    pub fn is_signed_out(&self) -> bool {
        self.signed_out.load(Ordering::Relaxed)
    }

    /// Base URL, without a slash at its end.
    pub fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Fetches an answer as JSON. `path` is below the base URL; `what` names the answer in errors.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<T, SourceError> {
        let mut url = self.build_url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.fetch_json(url, what).await
    }

    /// Fetches all results of a list, page by page. The next page has the same path and only takes the query of
    /// `_links.next`, so a list cannot lead to another address.
    pub async fn list_results<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<Vec<T>, SourceError> {
        let mut url = self.build_url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let mut results = Vec::new();
        for _ in 0..MAX_LIST_PAGES {
            let page: super::wire::ListResponse<T> = self.fetch_json(url.clone(), what).await?;
            results.extend(page.results);
            let next = page
                .links
                .next
                .and_then(|next| Some(next.split_once('?')?.1.to_owned()));
            match next {
                None => return Ok(results),
                Some(next) if Some(next.as_str()) == url.query() => break,
                Some(next) => url.set_query(Some(&next)),
            }
        }
        Err(SourceError::Broken(format!("the list of {what} does not end")))
    }

    /// Downloads a file. `link` is the download link that Confluence gave.
    pub async fn download_file(&self, link: &str, what: &str) -> Result<ItemContent, SourceError> {
        let mut url = self.resolve_link(link)?;
        for _ in 0..=MAX_REDIRECTS {
            if !self.is_ours(&url) {
                return self.download_through_guard(&url, what).await;
            }
            let once = || async {
                let _permit = self.acquire_permit().await;
                self.send_request(url.clone()).await
            };
            let response = self
                .with_retry(once)
                .await
                .map_err(|fault| self.to_source_error(fault, what))?;
            match redirect_location(&response) {
                None => return Ok(content_from_response(response)),
                Some(location) => {
                    let next = url.join(&location);
                    url = next.map_err(|_| SourceError::Refused(format!("{what} redirects to no address")))?;
                }
            }
        }
        Err(SourceError::Refused(format!("{what} redirects too often")))
    }

    async fn download_through_guard(&self, url: &Url, what: &str) -> Result<ItemContent, SourceError> {
        let failed = |error: GuardError| SourceError::Broken(format!("{what}: {error}"));
        let answer = self.guard.open_url(url.as_str(), HeaderMap::new()).await;
        let answer = answer.and_then(GuardedResponse::ensure_success).map_err(failed)?;
        Ok(ItemContent {
            media_type: answer.media_type(),
            bytes: answer
                .into_byte_stream()
                .map(|piece| piece.map_err(std::io::Error::other))
                .boxed(),
        })
    }

    fn build_url(&self, path: &str) -> Result<Url, SourceError> {
        let url = Url::parse(&format!("{}{path}", self.base_url()));
        url.map_err(|error| SourceError::Refused(format!("{path}: {error}")))
    }

    /// Resolves a link as Confluence writes it: a whole address, or a path below the base URL or below its host.
    fn resolve_link(&self, link: &str) -> Result<Url, SourceError> {
        let below_host = link.starts_with(&format!("{}/", self.base.path().trim_end_matches('/')));
        let url = match link.starts_with('/') && !(self.base.path() != "/" && below_host) {
            true => Url::parse(&format!("{}{link}", self.base_url())),
            false => self.base.join(link),
        };
        url.map_err(|_| SourceError::Refused("a download link is no address".into()))
    }

    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    async fn fetch_json<T: DeserializeOwned>(&self, url: Url, what: &str) -> Result<T, SourceError> {
        let once = || async {
            let _permit = self.acquire_permit().await;
            let response = self.send_request(url.clone()).await?;
            if redirect_location(&response).is_some() {
                return Err(ServiceError::refused("it sends to another address, maybe to sign in"));
            }
            let bytes = read_body(response, MAX_ANSWER_BYTES).await?;
            serde_json::from_slice(&bytes)
                .map_err(|error| ServiceError::refused(format!("its answer is not as expected: {error}")))
        };
        self.with_retry(once)
            .await
            .map_err(|fault| self.to_source_error(fault, what))
    }

    async fn with_retry<T, F: Future<Output = Result<T, ServiceError>>>(
        &self,
        once: impl FnMut() -> F,
    ) -> Result<T, ServiceError> {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.retry_settings.pause)
            .with_max_delay(self.retry_settings.longest_pause)
            .with_max_times(self.retry_settings.tries.saturating_sub(1));
        once.retry(pauses)
            .when(ServiceError::is_transient)
            .adjust(|fault, pause| match (pause, fault.retry_after()) {
                (None, _) => None,
                (Some(pause), None) => Some(pause.mul_f64(fastrand::f64())),
                // All requests wait for that moment; the random pause spreads them after it.
                (Some(_), Some(after)) if after <= self.retry_settings.longest_pause => {
                    Some(self.retry_settings.pause.mul_f64(fastrand::f64()))
                }
                _ => None,
            })
            .await
    }

    /// Sends one request and returns once the headers of the answer are there. A redirect is an answer.
    async fn send_request(&self, url: Url) -> Result<Response, ServiceError> {
        while let Some(moment) = self.pause_until() {
            sleep_until(moment).await;
        }
        let request = self.with_credentials(self.http.get(url).header("accept", "application/json, */*"));
        let response = match timeout(self.retry_settings.answer, request.send()).await {
            Ok(response) => response.map_err(|error| ServiceError::broken(describe_error(&error.without_url())))?,
            Err(_) => {
                return Err(ServiceError::broken(format!(
                    "no answer within {:?}",
                    self.retry_settings.answer
                )));
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() || status.is_redirection() {
            self.pause_requests(rate_limit_pause(&headers));
            return Ok(response);
        }
        let said = read_body(response, MAX_ERROR_BYTES).await.unwrap_or_default();
        if status == StatusCode::UNAUTHORIZED {
            self.signed_out.store(true, Ordering::Relaxed);
        }
        let fault = ServiceError::from_reply(status, &headers, &String::from_utf8_lossy(&said));
        self.pause_requests(fault.retry_after());
        Err(fault)
    }

    async fn acquire_permit(&self) -> SemaphorePermit<'_> {
        self.in_flight.acquire().await.expect("it is never closed")
    }

    /// End of the current pause; `None` if it is over.
    fn pause_until(&self) -> Option<Instant> {
        let not_before = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        not_before.filter(|moment| *moment > Instant::now())
    }

    /// Makes all requests wait, unless the pause is longer than the longest allowed one.
    fn pause_requests(&self, after: Option<Duration>) {
        let Some(after) = after.filter(|after| *after <= self.retry_settings.longest_pause) else {
            return;
        };
        let moment = Some(Instant::now() + after);
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = moment.max(*not_before);
    }

    fn with_credentials(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            ConfluenceCredentials::None => request,
            ConfluenceCredentials::Basic(user, token) => request.basic_auth(user, Some(token.expose_secret())),
            ConfluenceCredentials::Bearer(token) => request.bearer_auth(token.expose_secret()),
        }
    }

    fn to_source_error(&self, fault: ServiceError, what: &str) -> SourceError {
        let host = self.base.host_str().unwrap_or("Confluence");
        let secret = match &self.credentials {
            ConfluenceCredentials::None => None,
            ConfluenceCredentials::Basic(_, token) | ConfluenceCredentials::Bearer(token) => Some(token),
        };
        match fault {
            ServiceError::Refused {
                status: Some(StatusCode::UNAUTHORIZED),
                ..
            } => SourceError::Refused(format!(
                "{host} does not accept the credentials (401): the token is wrong, or has expired"
            )),
            ServiceError::Refused {
                status: Some(StatusCode::NOT_FOUND),
                ..
            } => SourceError::Gone(what.to_owned()),
            ServiceError::Refused { detail, .. } => {
                SourceError::Refused(format!("{host} refuses {what}: {}", redact_secret(detail, secret)))
            }
            ServiceError::Busy { detail, .. } | ServiceError::Broken { detail, .. } => {
                SourceError::Broken(format!("{host} fails at {what}: {}", redact_secret(detail, secret)))
            }
        }
    }
}

fn redact_secret(detail: String, secret: Option<&ApiSecret>) -> String {
    match secret.map(ApiSecret::expose_secret).filter(|secret| !secret.is_empty()) {
        Some(secret) => detail.replace(secret, "[redacted]"),
        None => detail,
    }
}

/// Pause that a successful answer asks for, because no requests are left in the current interval.
fn rate_limit_pause(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("x-ratelimit-interval-seconds").or_else(|| number("retry-after"))?;
    let left = number("x-ratelimit-remaining")?;
    (left <= 0.0).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

fn redirect_location(response: &Response) -> Option<String> {
    let location = response.headers().get(LOCATION)?;
    response
        .status()
        .is_redirection()
        .then(|| String::from_utf8_lossy(location.as_bytes()).into_owned())
}

fn content_from_response(response: Response) -> ItemContent {
    let media_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    ItemContent {
        media_type: media_type.map(str::to_owned),
        bytes: response
            .bytes_stream()
            .map(|piece| piece.map_err(|error| std::io::Error::other(describe_error(&error.without_url()))))
            .boxed(),
    }
}

async fn read_body(response: Response, most: usize) -> Result<Bytes, ServiceError> {
    let (mut bytes, mut pieces) = (bytes::BytesMut::new(), response.bytes_stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| ServiceError::broken(describe_error(&error.without_url())))?;
        if bytes.len() + piece.len() > most {
            return Err(ServiceError::refused(format!("its answer is longer than {most} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// Formats an error and its causes on one line.
fn describe_error(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
