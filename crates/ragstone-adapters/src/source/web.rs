//! Web pages: some addresses, those of a sitemap, and what they link to, so far and no further.
//!
//! Invariant: nothing is fetched but through the guard and by the rules of each host's `robots.txt`. What could not be
//! reached is no reason to forget what was there: only what its server says is gone, or nothing leads to, is. A page's text
//! stands under the address that gave it, and under that one only.

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

/// Pages of a source unless its settings say otherwise, and most that they can say.
pub const PAGES: usize = 1_000;
/// See [`PAGES`].
pub const MAX_PAGES: usize = 100_000;
/// Links that are followed one after the other, at most.
pub const MAX_DEPTH: usize = 32;
/// Requests in flight unless the settings say otherwise, and most that they can say.
pub const AT_ONCE: usize = 4;
/// See [`AT_ONCE`].
pub const MAX_AT_ONCE: usize = 16;
/// Minutes of a listing unless the settings say otherwise, and most that they can say.
pub const MINUTES: u64 = 60;
/// See [`MINUTES`].
pub const MAX_MINUTES: u64 = 24 * 60;
/// Addresses that the settings name.
const MAX_NAMED: usize = 10_000;
/// Bytes of pages that were read for their links and are kept for the rest of a sync.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Which pages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSettings {
    /// Pages to begin with.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Sitemaps whose pages are begun with as well.
    #[serde(default)]
    pub sitemaps: Vec<String>,
    /// How many links are followed from there, 0 for none.
    #[serde(default)]
    pub depth: usize,
    /// Hosts that may be followed to, beside those that are begun with.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// How the paths of pages begin; all where none is named.
    #[serde(default)]
    pub paths: Vec<String>,
    /// How the paths of pages begin that are left out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Most pages.
    #[serde(default = "pages")]
    pub max_pages: usize,
    /// Most minutes that listing them may take.
    #[serde(default = "minutes")]
    pub max_minutes: u64,
    /// Requests in flight.
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

/// See the module.
pub struct WebSource {
    settings: WebSettings,
    scope: CrawlScope,
    starts: Vec<Url>,
    sitemaps: Vec<Url>,
    guard: FetchGuard,
    pauses: HostPauses,
    /// What the last sync knew, by address.
    previous_markers: Mutex<BTreeMap<String, Option<String>>>,
    /// Pages of this sync that were read already.
    page_cache: Mutex<PageCache>,
}

/// Pages with their media types.
#[derive(Default)]
struct PageCache {
    pages: HashMap<String, (Option<String>, Bytes)>,
    bytes: usize,
}

impl WebSource {
    /// The pages of these settings; nothing is asked yet.
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

    /// The answer at an address, once its host no longer asks to wait.
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
        // What stands behind a redirect has an address of its own.
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

/// A guard's error as a source's.
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
