//! Web pages: named addresses, the pages of sitemaps, and the pages that they link to, up to a depth.
//!
//! Invariant: nothing is fetched except through the guard and by the rules of each host's `robots.txt`. A page that
//! could not be reached is kept: only a page that its server reports as gone, or that nothing links to, is dropped. A
//! page's text is stored under the address that returned it, and under no other.

mod address;
mod crawl;
mod page;
mod pauses;
mod robots;
mod sitemap;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use ragstone_core::seam::source::{DocumentSource, ItemContent, ListEntry, SourceError, SourceItem};
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::guard::{FetchGuard, GuardError, GuardedResponse};
use address::CrawlScope;
use crawl::WebCrawl;
use pauses::HostPauses;

/// Default for the most pages of a source.
pub const PAGES: usize = 1_000;
/// Largest value that the settings may give for the most pages.
pub const MAX_PAGES: usize = 100_000;
/// Largest depth of links that the settings may give.
pub const MAX_DEPTH: usize = 32;
/// Default number of concurrent requests.
pub const AT_ONCE: usize = 4;
/// Largest number of concurrent requests that the settings may give.
pub const MAX_AT_ONCE: usize = 16;
/// Default for the longest time of a listing, in minutes.
pub const MINUTES: u64 = 60;
/// Largest value that the settings may give for that time, in minutes.
pub const MAX_MINUTES: u64 = 24 * 60;
/// Most addresses that the settings may name.
const MAX_NAMED: usize = 10_000;
/// Most bytes of pages that were read for their links and are kept for the rest of a sync.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Settings of a web source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSettings {
    /// Addresses of pages to start from.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Addresses of sitemaps whose pages are started from as well.
    #[serde(default)]
    pub sitemaps: Vec<String>,
    /// How many links deep pages are followed from there; 0 for none.
    #[serde(default)]
    pub depth: usize,
    /// Hosts that may be followed to, besides those of the pages to start from.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Path prefixes of the pages to read; all pages if empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Path prefixes of pages to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Most pages of the source.
    #[serde(default = "pages")]
    pub max_pages: usize,
    /// Longest time that listing may take, in minutes.
    #[serde(default = "minutes")]
    pub max_minutes: u64,
    /// Most requests in flight at once.
    #[serde(default = "at_once")]
    pub at_once: usize,
}

fn pages() -> usize {
    PAGES
}

fn minutes() -> u64 {
    MINUTES
}

fn at_once() -> usize {
    AT_ONCE
}

/// Lists and reads the pages of a web source.
pub struct WebSource {
    settings: WebSettings,
    scope: CrawlScope,
    starts: Vec<Url>,
    sitemaps: Vec<Url>,
    guard: FetchGuard,
    pauses: HostPauses,
    /// Markers of the last sync, by address.
    previous_markers: Mutex<BTreeMap<String, Option<String>>>,
    /// Pages that were already read in this sync.
    page_cache: Mutex<PageCache>,
}

/// Pages with their media types, by address, and their total size.
#[derive(Default)]
struct PageCache {
    pages: HashMap<String, (Option<String>, Bytes)>,
    bytes: usize,
}

impl WebSource {
    /// Creates a source; no request is sent yet.
    pub fn new(settings: WebSettings, guard: FetchGuard) -> Result<Self, SourceError> {
        check_settings(&settings)?;
        let urls = |texts: &[String]| {
            texts
                .iter()
                .map(|text| address::parse_page_url(text))
                .collect::<Result<Vec<_>, _>>()
        };
        let (starts, sitemaps) = (urls(&settings.urls)?, urls(&settings.sitemaps)?);
        let scope = CrawlScope::new(starts.iter().chain(&sitemaps), &settings);
        Ok(Self {
            settings,
            scope,
            starts,
            sitemaps,
            guard,
            pauses: HostPauses::default(),
            previous_markers: Mutex::default(),
            page_cache: Mutex::default(),
        })
    }

    /// Sends a request once its host no longer asks for a pause.
    async fn send_request(
        &self,
        url: &Url,
        headers: &HeaderMap,
        may_follow: &(dyn Fn(&Url) -> bool + Sync),
    ) -> Result<GuardedResponse, GuardError> {
        let ask = || self.guard.open_url_within(url.as_str(), headers.clone(), may_follow);
        self.pauses.send_after_pause(&address::host_with_port(url), ask).await
    }

    fn lock_previous_markers(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.previous_markers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_page_cache(&self) -> MutexGuard<'_, PageCache> {
        self.page_cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache_page(&self, key: &str, media_type: Option<String>, page: Bytes) {
        let mut kept = self.lock_page_cache();
        if kept.bytes + page.len() <= MAX_KEPT_BYTES {
            kept.bytes += page.len();
            kept.pages.insert(key.to_owned(), (media_type, page));
        }
    }
}

#[async_trait]
impl DocumentSource for WebSource {
    fn set_known_markers(&self, markers: BTreeMap<String, Option<String>>) {
        *self.lock_previous_markers() = markers;
    }

    fn list_items(&self) -> BoxStream<'_, Result<ListEntry, SourceError>> {
        let one_by_one = |listed: Result<Vec<ListEntry>, SourceError>| match listed {
            Ok(items) => futures::stream::iter(items).map(Ok).boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        };
        futures::stream::once(WebCrawl::new(self).run_crawl())
            .flat_map(one_by_one)
            .boxed()
    }

    async fn fetch_item(&self, item: &SourceItem) -> Result<ItemContent, SourceError> {
        let kept = {
            let mut kept = self.lock_page_cache();
            let found = kept.pages.remove(&item.key);
            kept.bytes -= found.as_ref().map_or(0, |(_, page)| page.len());
            found
        };
        if let Some((media_type, page)) = kept {
            let bytes = futures::stream::iter([Ok(page)]).boxed();
            return Ok(ItemContent { media_type, bytes });
        }
        // The target of a redirect is a page with an address of its own.
        let url = Url::parse(&item.key).map_err(|error| SourceError::Refused(error.to_string()))?;
        let answer = self
            .send_request(&url, &HeaderMap::new(), &|_| false)
            .await
            .map_err(to_source_error)?;
        let answer = answer.ensure_success().map_err(to_source_error)?;
        Ok(ItemContent {
            media_type: answer.media_type(),
            bytes: answer
                .into_byte_stream()
                .map(|piece| piece.map_err(std::io::Error::other))
                .boxed(),
        })
    }

    fn max_concurrent_fetches(&self) -> usize {
        self.settings.at_once
    }
}

/// Converts an error of the guard to one of the source.
fn to_source_error(error: GuardError) -> SourceError {
    match &error {
        GuardError::Status { status: 404 | 410, .. } => SourceError::Gone("the page".into()),
        GuardError::Refused { .. } | GuardError::TooLarge { .. } => SourceError::Refused(error.to_string()),
        GuardError::Status { .. } | GuardError::Broken { .. } => SourceError::Broken(error.to_string()),
    }
}

fn check_settings(settings: &WebSettings) -> Result<(), SourceError> {
    let refused = |why: String| Err(SourceError::Refused(why));
    let named = settings.urls.len() + settings.sitemaps.len();
    if !(1..=MAX_NAMED).contains(&named) {
        return refused(format!("1 to {MAX_NAMED} urls or sitemaps are named"));
    }
    if settings.depth > MAX_DEPTH {
        return refused(format!("depth is 0 to {MAX_DEPTH}"));
    }
    if !(1..=MAX_PAGES).contains(&settings.max_pages) {
        return refused(format!("max_pages is 1 to {MAX_PAGES}"));
    }
    if !(1..=MAX_MINUTES).contains(&settings.max_minutes) {
        return refused(format!("max_minutes is 1 to {MAX_MINUTES}"));
    }
    if !(1..=MAX_AT_ONCE).contains(&settings.at_once) {
        return refused(format!("at_once is 1 to {MAX_AT_ONCE}"));
    }
    let mut paths = settings.paths.iter().chain(&settings.exclude);
    match paths.find(|path| !path.starts_with('/')) {
        Some(path) => refused(format!("{path:?} is no beginning of a path: it begins with /")),
        None => Ok(()),
    }
}
