//! One listing of a web source: from the named pages along their links, level by level, so that the same site gives the
//! same list.

mod rules;
mod same_text;
mod sitemaps;
mod visit;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt;
use ragstone_core::seam::source::{HiddenItems, ItemAccess, ListEntry, ListGap, MAX_FAILURES, SourceError, SourceItem};
use reqwest::Url;
use tokio::sync::Mutex;
use tokio::time::Instant;

use rules::path_with_query;
use visit::VisitOutcome;

use super::robots::RobotsRules;
use super::{WebSource, address};

/// Requests per page that may be listed: other addresses redirect, are gone or have no text.
const REQUESTS_PER_PAGE: usize = 5;
/// Additional requests, for small sources.
const MORE_REQUESTS: usize = 100;
/// Most redirects of a start page to other names of its site, one after the other.
const MAX_MOVES: usize = 5;

/// Why a page is left out that its host's `robots.txt` forbids.
const FORBIDDEN: &str = "its robots.txt forbids it";

/// A page of the listing.
pub(super) struct CrawledPage {
    item: SourceItem,
    /// Digest of the page's text, if it was read.
    text: Option<String>,
    /// Canonical address that the page declares.
    canonical: Option<Url>,
}

/// State of one listing.
pub(super) struct WebCrawl<'a> {
    web: &'a WebSource,
    /// `robots.txt` rules of each host, by `host:port`.
    robots: HashMap<String, RobotsRules>,
    /// When each host with a crawl delay may be asked again, by `host:port`.
    pace: HashMap<String, Mutex<Option<Instant>>>,
    /// Addresses that were requested, and the final addresses of these.
    asked: HashSet<String>,
    requests: usize,
    found: Vec<CrawledPage>,
    /// Addresses of the pages in `found`.
    listed: HashSet<String>,
    /// Addresses that are not pages of the source.
    non_pages: HashSet<String>,
    /// Whether there is more than may be listed.
    is_full: bool,
    /// Whether something could not be read that may lead to further pages.
    is_incomplete: bool,
    /// The first error from reading `robots.txt` rules or a sitemap.
    unread: Option<SourceError>,
    /// Gaps that are reported in any case.
    gaps: Vec<ListGap>,
    /// Why named addresses gave no page; reported only if no page is found.
    reasons: Vec<ListGap>,
}

impl CrawledPage {
    /// A page of which only the address is known.
    fn from_item(item: SourceItem) -> Self {
        Self {
            item,
            text: None,
            canonical: None,
        }
    }
}

impl<'a> WebCrawl<'a> {
    pub fn new(web: &'a WebSource) -> Self {
        Self {
            web,
            robots: HashMap::new(),
            pace: HashMap::new(),
            asked: HashSet::new(),
            requests: 0,
            found: Vec::new(),
            listed: HashSet::new(),
            non_pages: HashSet::new(),
            is_full: false,
            is_incomplete: false,
            unread: None,
            gaps: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// Lists all pages of the source; fails if that takes longer than the settings allow.
    pub async fn run_crawl(mut self) -> Result<Vec<ListEntry>, SourceError> {
        let minutes = self.web.settings.max_minutes;
        match tokio::time::timeout(Duration::from_secs(60 * minutes), self.crawl_all()).await {
            Ok(listed) => listed,
            Err(_) => Err(SourceError::Broken(format!("listing took more than {minutes} minutes"))),
        }
    }

    async fn crawl_all(&mut self) -> Result<Vec<ListEntry>, SourceError> {
        let mut level = self.web.starts.clone();
        level.extend(self.list_sitemap_pages().await);
        for depth in 0..=self.web.settings.depth {
            let is_inner = depth < self.web.settings.depth;
            level = match depth {
                0 => self.visit_first_level(level, is_inner).await?,
                _ => self.visit_level(level, is_inner, false).await?.leads,
            };
            if level.is_empty() || self.is_full {
                break;
            }
        }
        match (self.found.is_empty(), &self.unread) {
            (true, Some(error)) => return Err(error.clone()),
            (true, None) => self.gaps.append(&mut self.reasons),
            (false, _) if self.is_incomplete => self.keep_previous_pages(),
            (false, _) => {}
        }
        let doubt = self.drop_placeholder_pages().await;
        self.drop_duplicate_pages();
        let found = self.found.drain(..).map(|found| ListEntry::Item(found.item));
        let gaps = self.gaps.drain(..).map(ListEntry::Gap);
        Ok(found.chain(gaps).chain(doubt).collect())
    }

    /// Visits the start pages, also under the names of their sites that they redirect to; returns where they lead.
    async fn visit_first_level(&mut self, starts: Vec<Url>, is_inner: bool) -> Result<Vec<Url>, SourceError> {
        let (mut leads, mut waiting) = (Vec::new(), starts);
        for _ in 0..=MAX_MOVES {
            let level = self.visit_level(waiting, is_inner, true).await?;
            leads.extend(level.leads);
            waiting = level.moved;
            if waiting.is_empty() {
                break;
            }
            for url in &waiting {
                self.web.scope.admit_host(url);
            }
        }
        Ok(leads)
    }

    /// Visits the pages of a level; returns where they lead.
    async fn visit_level(&mut self, urls: Vec<Url>, is_inner: bool, is_start: bool) -> Result<CrawlLevel, SourceError> {
        let fresh = self.unvisited_urls(urls, is_start).await;
        let (crawl, at_once) = (&*self, self.web.settings.at_once);
        let room = self.max_requests().saturating_sub(self.requests);
        let visits = futures::stream::iter(0..fresh.len().min(room)).map(|n| crawl.visit_url(&fresh[n], is_inner));
        let mut visits = visits.buffered(at_once);
        let mut seen = Vec::new();
        let mut pages_left = self.web.settings.max_pages.saturating_sub(self.found.len());
        while let Some(visit) = visits.next().await {
            let is_page = matches!(visit, VisitOutcome::Page { .. });
            seen.push(visit);
            // One page too many shows that there are more.
            match (is_page, pages_left) {
                (true, 0) => break,
                (true, _) => pages_left -= 1,
                (false, _) => {}
            }
        }
        drop(visits);
        self.requests += seen.len();
        let (mut level, mut first_failure, mut worked) = (CrawlLevel::default(), None, false);
        for (url, visit) in fresh.iter().zip(seen) {
            match self.record_visit(url, visit, is_start, &mut level) {
                Ok(()) => worked = true,
                Err(error) => {
                    self.is_incomplete |= is_inner;
                    first_failure.get_or_insert(error);
                }
            }
        }
        if let Some(url) = fresh.get(room) {
            self.leave_out(url.as_str(), "more addresses lead to no page");
        }
        match first_failure.filter(|_| is_start && !worked && self.found_nothing_else()) {
            Some(error) => Err(error),
            None => Ok(level),
        }
    }

    /// The addresses of a level that belong to the source, are allowed and were not requested yet.
    async fn unvisited_urls(&mut self, urls: Vec<Url>, is_start: bool) -> Vec<Url> {
        let mut fresh = Vec::new();
        for url in urls {
            let is_named = is_start && self.web.starts.contains(&url);
            if !self.web.scope.contains_url(&url) {
                if is_named {
                    self.record_reason(&url, "its path is not among those that are meant");
                }
            } else if self.asked.insert(url.to_string()) {
                if self.is_allowed(&url).await {
                    fresh.push(url);
                } else if is_named && !self.robots[&address::host_with_port(&url)].is_deny_all() {
                    self.report_gap(&url, SourceError::Refused(FORBIDDEN.into()));
                } else {
                    self.record_reason(&url, FORBIDDEN);
                }
            }
        }
        fresh
    }

    /// Records the outcome of a visit; an error if the page could not be read.
    fn record_visit(
        &mut self,
        url: &Url,
        visit: VisitOutcome,
        is_start: bool,
        level: &mut CrawlLevel,
    ) -> Result<(), SourceError> {
        match visit {
            VisitOutcome::Failed(error) => {
                // The sync requests the page once more and reports the result.
                self.add_page(CrawledPage::from_item(page_item(url, None, None)));
                return Err(error);
            }
            VisitOutcome::Page { found, leads } => {
                self.asked.insert(found.item.key.clone());
                self.add_page(*found);
                level.leads.extend(leads);
            }
            VisitOutcome::LinksOnly(leads) => {
                self.non_pages.insert(url.to_string());
                self.record_reason(url, "it wants to be in no index (noindex)");
                level.leads.extend(leads);
            }
            VisitOutcome::Redirected(to) => {
                self.non_pages.insert(url.to_string());
                self.follow_redirect(url, to, is_start, level);
            }
            VisitOutcome::NotAPage(why) => {
                self.non_pages.insert(url.to_string());
                self.record_reason(url, &why);
            }
        }
        Ok(())
    }

    /// Queues the target of a redirect if it belongs to the source; its host's rules may not be read yet.
    fn follow_redirect(&mut self, url: &Url, to: Url, is_start: bool, level: &mut CrawlLevel) {
        let is_meant = self.web.scope.contains_url(&to);
        match is_start {
            true if is_meant || address::is_same_site(url, &to) => level.moved.push(to),
            false if is_meant => level.leads.push(to),
            _ => {
                let host = address::host_with_port(&to);
                let why = format!("it sends on to {host}, where nothing is meant; name that host in the settings");
                match is_start && self.web.starts.contains(url) {
                    true => self.report_gap(url, SourceError::Refused(why)),
                    false => self.record_reason(url, &why),
                }
            }
        }
    }

    /// Whether no page was read so far; failed pages are in `found`, too.
    fn found_nothing_else(&self) -> bool {
        self.found.iter().all(|found| found.item.marker.is_none())
    }

    /// Reports an address from the settings that gave no page.
    fn report_gap(&mut self, url: &Url, error: SourceError) {
        let gap = build_gap(url, error);
        self.gaps.push(gap);
    }

    /// Records why an address gave no page, to be reported if no page is found.
    fn record_reason(&mut self, url: &Url, why: &str) {
        if self.reasons.len() < MAX_FAILURES {
            self.reasons.push(build_gap(url, SourceError::Refused(why.to_owned())));
        }
    }

    fn max_requests(&self) -> usize {
        REQUESTS_PER_PAGE * self.web.settings.max_pages + MORE_REQUESTS
    }

    fn add_page(&mut self, found: CrawledPage) {
        if self.listed.contains(&found.item.key) {
            return;
        }
        if self.found.len() >= self.web.settings.max_pages {
            self.leave_out(&found.item.key, "there are more pages than max_pages");
        } else {
            self.listed.insert(found.item.key.clone());
            self.found.push(found);
        }
    }

    /// Lists the first page that is left out, with the reason, to show that the listing is cut off.
    fn leave_out(&mut self, key: &str, why: &str) {
        let Some(url) = Url::parse(key).ok().filter(|_| !self.is_full) else {
            return;
        };
        self.is_full = true;
        if self.listed.insert(key.to_owned()) {
            let why = format!("{why}: this and what follows is left out");
            self.found.push(CrawledPage::from_item(SourceItem {
                access: ItemAccess::Unknown(SourceError::Refused(why)),
                ..page_item(&url, None, None)
            }));
        }
    }

    /// Keeps pages of the last sync that this one did not reach because a page, sitemap or rules could not be read.
    fn keep_previous_pages(&mut self) {
        let recalled = self.web.lock_previous_markers().clone();
        for (key, marker) in recalled {
            let url = Url::parse(&key).ok().filter(|url| self.web.scope.contains_url(url));
            if let Some(url) = url.filter(|_| !self.non_pages.contains(&key)) {
                self.add_page(CrawledPage::from_item(page_item(&url, None, marker)));
            }
        }
    }
}

/// Where the pages of a level lead.
#[derive(Default)]
struct CrawlLevel {
    leads: Vec<Url>,
    /// Other names of their sites that start pages redirect to.
    moved: Vec<Url>,
}

/// The gap for an address that gave no page; it hides no known page.
fn build_gap(url: &Url, error: SourceError) -> ListGap {
    ListGap {
        uri: url.to_string(),
        error,
        hides: HiddenItems::None,
    }
}

fn page_item(url: &Url, media_type: Option<&str>, marker: Option<String>) -> SourceItem {
    let last = url
        .path_segments()
        .and_then(|mut all| all.next_back())
        .unwrap_or_default();
    let last = if last.is_empty() { "index" } else { last };
    let is_html = media_type.is_none_or(|media| media.contains("html"));
    SourceItem {
        key: url.to_string(),
        uri: url.to_string(),
        name: match is_html && !last.contains('.') {
            true => format!("{last}.html"),
            false => last.to_owned(),
        },
        title: None,
        source_url: Some(url.to_string()),
        marker,
        access: ItemAccess::Unspecified,
    }
}
