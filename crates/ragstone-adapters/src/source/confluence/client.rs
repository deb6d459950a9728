//! Requests to one Confluence: a bound on those in flight, one pause for all when it asks for one, retries.
//!
//! Invariant: the credentials go to the host they are for and to no other, and into no error.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use futures::StreamExt;
use ragstone_core::seam::source::{Content, SourceError};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

use super::Credentials;
use crate::openai::{Fault, Secret};
use crate::source::guard::{Answer, Guard, GuardError};

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
pub struct Patience {
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

impl Default for Patience {
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
pub(super) struct Client {
    http: reqwest::Client,
    /// Without a slash at its end.
    base: Url,
    credentials: Credentials,
    patience: Patience,
    in_flight: Semaphore,
    /// Whether the credentials were refused.
    signed_out: AtomicBool,
    /// Before this moment nothing is asked.
    not_before: Mutex<Option<Instant>>,
    /// Fetches files that Confluence keeps on other hosts.
    guard: Guard,
}

impl Client {
    pub fn new(
        base: Url,
        credentials: Credentials,
        at_once: usize,
        patience: Patience,
        guard: Guard,
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
            patience,
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
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// An answer as JSON. `path` is below the base; `what` names it in errors.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<T, SourceError> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.read(url, what).await
    }

    /// All results of a list, page after page: the next one has the same path and what `_links.next` says after the
    /// question mark, so a list leads nowhere else.
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<Vec<T>, SourceError> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let mut results = Vec::new();
        for _ in 0..MAX_LIST_PAGES {
            let page: super::wire::List<T> = self.read(url.clone(), what).await?;
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
    pub async fn download(&self, link: &str, what: &str) -> Result<Content, SourceError> {
        let mut url = self.link(link)?;
        for _ in 0..=MAX_REDIRECTS {
            if !self.is_ours(&url) {
                return self.elsewhere(&url, what).await;
            }
            let once = || async {
                let _permit = self.permit().await;
                self.ask(url.clone()).await
            };
            let response = self.patiently(once).await.map_err(|fault| self.error(fault, what))?;
            match location(&response) {
                None => return Ok(content(response)),
                Some(location) => {
                    let next = url.join(&location);
                    url = next.map_err(|_| SourceError::Refused(format!("{what} redirects to no address")))?;
                }
            }
        }
        Err(SourceError::Refused(format!("{what} redirects too often")))
    }

    async fn elsewhere(&self, url: &Url, what: &str) -> Result<Content, SourceError> {
        let failed = |error: GuardError| SourceError::Broken(format!("{what}: {error}"));
        let answer = self.guard.open(url.as_str(), HeaderMap::new()).await;
        let answer = answer.and_then(Answer::successful).map_err(failed)?;
        Ok(Content {
            media_type: answer.media_type(),
            bytes: answer
                .pieces()
                .map(|piece| piece.map_err(std::io::Error::other))
                .boxed(),
        })
    }

    fn url(&self, path: &str) -> Result<Url, SourceError> {
        let url = Url::parse(&format!("{}{path}", self.base()));
        url.map_err(|error| SourceError::Refused(format!("{path}: {error}")))
    }

    /// A link as Confluence writes them: a whole address, or a path that begins below the base or below its host.
    fn link(&self, link: &str) -> Result<Url, SourceError> {
        let below_host = link.starts_with(&format!("{}/", self.base.path().trim_end_matches('/')));
        let url = match link.starts_with('/') && !(self.base.path() != "/" && below_host) {
            true => Url::parse(&format!("{}{link}", self.base())),
            false => self.base.join(link),
        };
        url.map_err(|_| SourceError::Refused("a download link is no address".into()))
    }

    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    async fn read<T: DeserializeOwned>(&self, url: Url, what: &str) -> Result<T, SourceError> {
        let once = || async {
            let _permit = self.permit().await;
            let response = self.ask(url.clone()).await?;
            if location(&response).is_some() {
                return Err(Fault::refused("it sends to another address, maybe to sign in"));
            }
            let bytes = body(response, MAX_ANSWER_BYTES).await?;
            serde_json::from_slice(&bytes)
                .map_err(|error| Fault::refused(format!("its answer is not as expected: {error}")))
        };
        self.patiently(once).await.map_err(|fault| self.error(fault, what))
    }

    async fn patiently<T, F: Future<Output = Result<T, Fault>>>(&self, once: impl FnMut() -> F) -> Result<T, Fault> {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.patience.pause)
            .with_max_delay(self.patience.longest_pause)
            .with_max_times(self.patience.tries.saturating_sub(1));
        once.retry(pauses)
            .when(Fault::passes)
            .adjust(|fault, pause| match (pause, fault.after()) {
                (None, _) => None,
                (Some(pause), None) => Some(pause.mul_f64(fastrand::f64())),
                // All wait for that moment; this spreads them behind it.
                (Some(_), Some(after)) if after <= self.patience.longest_pause => {
                    Some(self.patience.pause.mul_f64(fastrand::f64()))
                }
                _ => None,
            })
            .await
    }

    /// The answer to one request, once its head is there. A redirect is an answer.
    async fn ask(&self, url: Url) -> Result<Response, Fault> {
        while let Some(moment) = self.pause() {
            sleep_until(moment).await;
        }
        let request = self.authorised(self.http.get(url).header("accept", "application/json, */*"));
        let response = match timeout(self.patience.answer, request.send()).await {
            Ok(response) => response.map_err(|error| Fault::broken(words(&error.without_url())))?,
            Err(_) => {
                return Err(Fault::broken(format!("no answer within {:?}", self.patience.answer)));
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() || status.is_redirection() {
            self.rest(used_up(&headers));
            return Ok(response);
        }
        let said = body(response, MAX_ERROR_BYTES).await.unwrap_or_default();
        if status == StatusCode::UNAUTHORIZED {
            self.signed_out.store(true, Ordering::Relaxed);
        }
        let fault = Fault::of_reply(status, &headers, &String::from_utf8_lossy(&said));
        self.rest(fault.after());
        Err(fault)
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.in_flight.acquire().await.expect("it is never closed")
    }

    /// The moment that is waited for, if it is not here yet.
    fn pause(&self) -> Option<Instant> {
        let not_before = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        not_before.filter(|moment| *moment > Instant::now())
    }

    /// Lets all requests wait.
    fn rest(&self, after: Option<Duration>) {
        let Some(after) = after.filter(|after| *after <= self.patience.longest_pause) else {
            return;
        };
        let moment = Some(Instant::now() + after);
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = moment.max(*not_before);
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Credentials::None => request,
            Credentials::Basic(user, token) => request.basic_auth(user, Some(token.expose())),
            Credentials::Bearer(token) => request.bearer_auth(token.expose()),
        }
    }

    fn error(&self, fault: Fault, what: &str) -> SourceError {
        let host = self.base.host_str().unwrap_or("Confluence");
        let secret = match &self.credentials {
            Credentials::None => None,
            Credentials::Basic(_, token) | Credentials::Bearer(token) => Some(token),
        };
        match fault {
            Fault::Refused {
                status: Some(StatusCode::UNAUTHORIZED),
                ..
            } => SourceError::Refused(format!(
                "{host} does not accept the credentials (401): the token is wrong, or has expired"
            )),
            Fault::Refused {
                status: Some(StatusCode::NOT_FOUND),
                ..
            } => SourceError::Gone(what.to_owned()),
            Fault::Refused { detail, .. } => {
                SourceError::Refused(format!("{host} refuses {what}: {}", redacted(detail, secret)))
            }
            Fault::Busy { detail, .. } | Fault::Broken { detail, .. } => {
                SourceError::Broken(format!("{host} fails at {what}: {}", redacted(detail, secret)))
            }
        }
    }
}

fn redacted(detail: String, secret: Option<&Secret>) -> String {
    match secret.map(Secret::expose).filter(|secret| !secret.is_empty()) {
        Some(secret) => detail.replace(secret, "[redacted]"),
        None => detail,
    }
}

/// How long a success asks to wait: nothing is left of what may be asked in an interval.
fn used_up(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("x-ratelimit-interval-seconds").or_else(|| number("retry-after"))?;
    let left = number("x-ratelimit-remaining")?;
    (left <= 0.0).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

fn location(response: &Response) -> Option<String> {
    let location = response.headers().get(LOCATION)?;
    response
        .status()
        .is_redirection()
        .then(|| String::from_utf8_lossy(location.as_bytes()).into_owned())
}

fn content(response: Response) -> Content {
    let media_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    Content {
        media_type: media_type.map(str::to_owned),
        bytes: response
            .bytes_stream()
            .map(|piece| piece.map_err(|error| std::io::Error::other(words(&error.without_url()))))
            .boxed(),
    }
}

async fn body(response: Response, most: usize) -> Result<Bytes, Fault> {
    let (mut bytes, mut pieces) = (bytes::BytesMut::new(), response.bytes_stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Fault::broken(words(&error.without_url())))?;
        if bytes.len() + piece.len() > most {
            return Err(Fault::refused(format!("its answer is longer than {most} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// An error with its causes, in one line.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
