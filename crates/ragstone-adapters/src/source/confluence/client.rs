//! Requests to one Confluence: a bound on those in flight, one pause for all when it asks for one, retries.
//!
//! Invariant: the credentials go to the host they are for and to no other, and into no error.

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

/// Most requests in flight, whatever the settings say.
pub const MAX_AT_ONCE: usize = 16;
/// Bytes of an answer that is not a file.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Bytes of an error's words that are read.
const MAX_ERROR_BYTES: usize = 16 << 10;
/// Redirects of a download.
const MAX_REDIRECTS: usize = 3;
/// Pages of one list; more is a list that does not end.
const MAX_LIST_PAGES: usize = 100_000;

/// How long Confluence may take, and how often it is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfluenceRetrySettings {
    /// To connect, TLS included.
    pub connect: Duration,
    /// For an answer that is not a file, and between two pieces of a file.
    pub answer: Duration,
    /// Tries of a request in all, at least 1.
    pub tries: usize,
    /// The longest pause before the second try; it doubles with each further one.
    pub pause: Duration,
    /// The longest `Retry-After` that is waited for.
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

/// See the module.
pub(super) struct ConfluenceClient {
    http: reqwest::Client,
    /// Without a slash at its end.
    base: Url,
    credentials: ConfluenceCredentials,
    retry_settings: ConfluenceRetrySettings,
    in_flight: Semaphore,
    /// Whether the credentials were refused.
    signed_out: AtomicBool,
    /// Before this moment nothing is asked.
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

    /// Whether it has refused the credentials, so that nothing else will be answered either.
    pub fn is_signed_out(&self) -> bool {
        self.signed_out.load(Ordering::Relaxed)
    }

    /// Where Confluence is.
    pub fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// An answer as JSON. `path` is below the base; `what` names it in errors.
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

    /// All results of a list, page after page: the next one has the same path and what `_links.next` says after the
    /// question mark, so a list leads nowhere else.
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

    /// The bytes of a file. `link` is what Confluence calls its download link.
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

    /// A link as Confluence writes them: a whole address, or a path that begins below the base or below its host.
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
                // All wait for that moment; this spreads them behind it.
                (Some(_), Some(after)) if after <= self.retry_settings.longest_pause => {
                    Some(self.retry_settings.pause.mul_f64(fastrand::f64()))
                }
                _ => None,
            })
            .await
    }

    /// The answer to one request, once its head is there. A redirect is an answer.
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

    /// The moment that is waited for, if it is not here yet.
    fn pause_until(&self) -> Option<Instant> {
        let not_before = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        not_before.filter(|moment| *moment > Instant::now())
    }

    /// Lets all requests wait.
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

/// How long a success asks to wait: nothing is left of what may be asked in an interval.
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

/// An error with its causes, in one line.
fn describe_error(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
