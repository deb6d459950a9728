//! Visits one address: requests it by the rules of its host, and reads where it leads.

use ragstone_core::seam::source::SourceError;
use reqwest::Url;
use reqwest::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
};
use tokio::time::{Instant, sleep_until};

use super::super::page::{self, ScannedPage};
use super::super::{address, to_source_error};
use super::{CrawledPage, WebCrawl, page_item as item_of, path_with_query};
use crate::source::guard::{GuardError, GuardedResponse};

/// Most bytes of a page that is read for its links; a longer one is listed without links.
const MAX_PAGE_BYTES: usize = 8 << 20;
/// Prefixes of media types without text.
const NO_TEXT: [&str; 6] = ["image/", "video/", "audio/", "font/", "text/css", "text/javascript"];

/// Separates the server's validator from the digest of the text in a page's marker.
const TEXT_MARK: &str = "\u{1f}text=";
/// Hex digits of a text's digest.
const DIGEST: usize = 32;

/// Outcome of visiting an address.
pub(super) enum VisitOutcome {
    /// A page with text, and the addresses that it leads to.
    Page { found: Box<CrawledPage>, leads: Vec<Url> },
    /// Not a page of the source, and why.
    NotAPage(String),
    /// A redirect to an address that, as far as is known, does not belong to the source or is not allowed.
    Redirected(Url),
    /// A page that is not to be listed itself (`noindex`), and the addresses that it leads to.
    LinksOnly(Vec<Url>),
    /// The address could not be read.
    Failed(SourceError),
}

impl WebCrawl<'_> {
    pub(super) async fn visit_url(&self, url: &Url, is_inner: bool) -> VisitOutcome {
        let recalled = self.web.lock_previous_markers().get(url.as_str()).cloned().flatten();
        let condition = recalled.as_deref().filter(|_| !is_inner).and_then(condition_header);
        self.visit_with_headers(url, condition.into_iter().collect(), is_inner)
            .await
    }

    pub(super) async fn visit_with_headers(&self, url: &Url, headers: HeaderMap, is_inner: bool) -> VisitOutcome {
        self.wait_for_host(url).await;
        let meant = |url: &Url| self.leads_to(url);
        let answer = match self.web.send_request(url, &headers, &meant).await {
            Ok(answer) => answer,
            Err(error @ GuardError::Refused { .. }) => {
                return match self.web.starts.contains(url) {
                    true => VisitOutcome::Failed(to_source_error(error)),
                    false => VisitOutcome::NotAPage(error.to_string()),
                };
            }
            Err(error) => return VisitOutcome::Failed(to_source_error(error)),
        };
        let Some(at) = address::normalise_url(answer.url.clone()).filter(|at| self.is_meant(at)) else {
            return VisitOutcome::NotAPage("it sends on to an address that is not meant".into());
        };
        match answer.status {
            304 if at == *url => self.unchanged_page(url),
            // The condition was for the requested address, not for the one that it redirects to.
            304 if !headers.is_empty() => Box::pin(self.visit_with_headers(&at, HeaderMap::new(), is_inner)).await,
            200..=299 => self.read_page(at, answer, is_inner).await,
            status @ (300..=399) => match redirect_location(&answer) {
                Some(to) => VisitOutcome::Redirected(to),
                None => VisitOutcome::NotAPage(format!("it answered {status}")),
            },
            status @ (404 | 410) => VisitOutcome::NotAPage(format!("it answered {status}")),
            _ => match answer.ensure_success() {
                Err(error) => VisitOutcome::Failed(to_source_error(error)),
                Ok(_) => VisitOutcome::NotAPage("it gave no page".into()),
            },
        }
    }

    /// A page that is unchanged since the last sync.
    fn unchanged_page(&self, url: &Url) -> VisitOutcome {
        let recalled = self.web.lock_previous_markers().get(url.as_str()).cloned().flatten();
        let text = recalled.as_deref().and_then(|marker| marker.split_once(TEXT_MARK));
        let found = CrawledPage {
            text: text.map(|(_, digest)| digest.to_owned()),
            ..CrawledPage::from_item(item_of(url, None, recalled.clone()))
        };
        VisitOutcome::Page {
            found: Box::new(found),
            leads: Vec::new(),
        }
    }

    /// Waits for the delay that a host asks for between two requests.
    async fn wait_for_host(&self, url: &Url) {
        let host = address::host_with_port(url);
        let Some(pace) = self.pace.get(&host) else { return };
        let mut next = pace.lock().await;
        if let Some(moment) = *next {
            sleep_until(moment).await;
        }
        *next = Some(Instant::now() + self.robots[&host].delay);
    }

    /// Whether the target of a redirect or link belongs to the source and is allowed, as far as is known.
    fn is_meant(&self, url: &Url) -> bool {
        let robots = self.robots.get(&address::host_with_port(url));
        self.web.scope.contains_url(url) && robots.is_some_and(|robots| robots.allows_path(path_with_query(url)))
    }

    /// Whether a redirect is followed.
    fn leads_to(&self, url: &Url) -> bool {
        address::normalise_url(url.clone()).is_some_and(|url| self.is_meant(&url))
    }

    async fn read_page(&self, at: Url, answer: GuardedResponse, is_inner: bool) -> VisitOutcome {
        let media_type = answer.media_type();
        let validator = response_validator(&answer.headers);
        let media = media_type.as_deref().unwrap_or_default().to_ascii_lowercase();
        if NO_TEXT.iter().any(|kind| media.starts_with(kind)) {
            return VisitOutcome::NotAPage(format!("it is {media}, which has no text"));
        }
        let mut said = ScannedPage::default();
        for tag in answer.headers.get_all("x-robots-tag") {
            said.apply_robots_content(tag.to_str().unwrap_or_default());
        }
        if !media.contains("html") {
            return match said.noindex {
                true => VisitOutcome::NotAPage("it wants to be in no index (noindex)".into()),
                false => VisitOutcome::Page {
                    found: Box::new(CrawledPage::from_item(item_of(&at, media_type.as_deref(), validator))),
                    leads: Vec::new(),
                },
            };
        }
        let bytes = match answer.read_bytes(MAX_PAGE_BYTES).await {
            Ok(bytes) => bytes,
            Err(error) => return VisitOutcome::Failed(to_source_error(error)),
        };
        let html = page::scan_page(&String::from_utf8_lossy(&bytes));
        let base = html
            .base
            .as_deref()
            .and_then(|base| at.join(base).ok())
            .unwrap_or_else(|| at.clone());
        let follow = is_inner && !html.nofollow && !said.nofollow;
        let address = |link: &str| address::normalise_url(base.join(link).ok()?);
        let canonical = html.canonical.as_deref().and_then(address);
        let canonical = canonical.filter(|url| self.web.scope.contains_url(url));
        let linked = html.links.iter().filter_map(|link| address(link));
        let leads = linked.chain(canonical.clone()).filter(|_| follow);
        let leads = leads.filter(|url| self.web.scope.contains_url(url)).collect();
        if html.noindex || said.noindex {
            return VisitOutcome::LinksOnly(leads);
        }
        let text = text_digest(html.text.as_bytes());
        let marker = match validator {
            Some(validator) => format!("{validator}{TEXT_MARK}{text}"),
            None => format!("hash={}", blake3::hash(&bytes).to_hex()),
        };
        let item = item_of(&at, media_type.as_deref(), Some(marker));
        self.web.cache_page(&item.key, media_type, bytes);
        let found = Box::new(CrawledPage {
            item,
            text: Some(text),
            canonical,
        });
        VisitOutcome::Page { found, leads }
    }
}

fn text_digest(text: &[u8]) -> String {
    blake3::hash(text).to_hex()[..DIGEST].to_owned()
}

/// Target of a redirect, normalised.
fn redirect_location(answer: &GuardedResponse) -> Option<Url> {
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    address::normalise_url(answer.url.join(location).ok()?)
}

/// What the server sends to identify the state of a page: `ETag`, otherwise `Last-Modified`.
fn response_validator(headers: &HeaderMap) -> Option<String> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let etag = text(ETAG)
        .filter(|etag| !etag.is_empty())
        .map(|etag| format!("etag={etag}"));
    etag.or_else(|| text(LAST_MODIFIED).map(|date| format!("modified={date}")))
}

/// Header to request a page only if it has changed since `marker`.
fn condition_header(marker: &str) -> Option<(HeaderName, HeaderValue)> {
    let said = marker.split_once(TEXT_MARK).map_or(marker, |(said, _)| said);
    let (name, value) = match said.split_once('=')? {
        ("etag", etag) => (IF_NONE_MATCH, etag),
        ("modified", date) => (IF_MODIFIED_SINCE, date),
        _ => return None,
    };
    Some((name, HeaderValue::from_str(value).ok()?))
}
