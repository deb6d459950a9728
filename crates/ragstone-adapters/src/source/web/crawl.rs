//! One listing: from the pages that are named along their links, level by level, so that the same site gives the same
//! list.

mod visit;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt;
use ragstone_core::seam::source::{Access, Item, SourceError};
use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::sync::Mutex;
use tokio::time::Instant;

use visit::Visit;

use super::robots::{self, Robots};
use super::sitemap::{self, Sitemap};
use super::{Web, address, told};
use crate::source::guard::GuardError;

/// Requests for each page that may be listed: others lead elsewhere, are gone or have no text.
const REQUESTS_PER_PAGE: usize = 5;
/// Requests that a small source has besides.
const MORE_REQUESTS: usize = 100;
/// Sitemaps of one source, those that sitemaps name included.
const MAX_SITEMAPS: usize = 1_000;

/// See the module.
pub(super) struct Crawl<'a> {
    web: &'a Web,
    /// What each host allows.
    robots: HashMap<String, Robots>,
    /// When each host that wants pauses may be asked again.
    pace: HashMap<String, Mutex<Option<Instant>>>,
    /// Addresses that were asked for, or lead to one.
    asked: HashSet<String>,
    requests: usize,
    items: Vec<Item>,
    listed: HashSet<String>,
    /// Addresses that are no pages of the source.
    no_pages: HashSet<String>,
    /// Whether there is more than may be listed.
    is_full: bool,
    /// Whether something that may lead on could not be read.
    blind: bool,
    /// Why the rules of a host could not be read.
    no_rules: Option<SourceError>,
}

impl<'a> Crawl<'a> {
    pub fn new(web: &'a Web) -> Self {
        Self {
            web,
            robots: HashMap::new(),
            pace: HashMap::new(),
            asked: HashSet::new(),
            requests: 0,
            items: Vec::new(),
            listed: HashSet::new(),
            no_pages: HashSet::new(),
            is_full: false,
            blind: false,
            no_rules: None,
        }
    }

    /// Everything that is meant, within the time that is allowed.
    pub async fn run(mut self) -> Result<Vec<Item>, SourceError> {
        let minutes = self.web.settings.max_minutes;
        match tokio::time::timeout(Duration::from_secs(60 * minutes), self.all()).await {
            Ok(listed) => listed.map(|()| self.items),
            Err(_) => Err(SourceError::Broken(format!(
                "listing took more than {minutes} minutes"
            ))),
        }
    }

    async fn all(&mut self) -> Result<(), SourceError> {
        let mut level = self.web.starts.clone();
        level.extend(self.mapped().await?);
        for depth in 0..=self.web.settings.depth {
            let is_inner = depth < self.web.settings.depth;
            level = self.level(level, is_inner, depth == 0).await?;
            if level.is_empty() || self.is_full {
                break;
            }
        }
        if self.blind {
            self.keep_what_was_there();
        }
        Ok(())
    }

    /// The pages of the sitemaps.
    async fn mapped(&mut self) -> Result<Vec<Url>, SourceError> {
        let (mut waiting, mut pages, mut read) = (self.web.sitemaps.clone(), Vec::new(), HashSet::new());
        while let Some(map) = waiting.pop() {
            if !read.insert(map.clone()) {
                continue;
            }
            if read.len() > MAX_SITEMAPS {
                return Err(SourceError::Refused(format!(
                    "it has more than {MAX_SITEMAPS} sitemaps"
                )));
            }
            let failed = |error: GuardError| match told(error) {
                SourceError::Gone(_) => SourceError::Refused(format!("there is no sitemap {map}")),
                other => other,
            };
            let answer = self
                .web
                .guard
                .open(map.as_str(), HeaderMap::new())
                .await
                .map_err(failed)?;
            let answer = answer.successful().map_err(failed)?;
            let bytes = answer.bytes(sitemap::MAX_BYTES).await.map_err(failed)?;
            let none = || {
                SourceError::Refused(format!(
                    "{map} is no sitemap (one that is compressed is not read)"
                ))
            };
            let urls = |texts: Vec<String>| {
                texts
                    .into_iter()
                    .filter_map(|text| address::plain(Url::parse(&text).ok()?))
            };
            match sitemap::parse(&String::from_utf8_lossy(&bytes)).ok_or_else(none)? {
                Sitemap::Pages(found) => pages.extend(urls(found)),
                Sitemap::Index(found) => waiting.extend(urls(found)),
            }
        }
        Ok(pages)
    }

    /// Visits the pages of a level; where they lead.
    async fn level(
        &mut self,
        urls: Vec<Url>,
        is_inner: bool,
        is_start: bool,
    ) -> Result<Vec<Url>, SourceError> {
        let mut fresh = Vec::new();
        for url in urls {
            if self.web.scope.holds(&url)
                && self.asked.insert(url.to_string())
                && self.is_allowed(&url).await?
            {
                fresh.push(url);
            }
        }
        let (crawl, at_once) = (&*self, self.web.settings.at_once);
        let room = self.most_requests().saturating_sub(self.requests);
        let visits =
            futures::stream::iter(0..fresh.len().min(room)).map(|n| crawl.visit(&fresh[n], is_inner));
        let mut visits = visits.buffered(at_once);
        let (mut seen, mut first_failure) = (Vec::new(), None);
        let mut pages_left = self.web.settings.max_pages.saturating_sub(self.items.len());
        while let Some(visit) = visits.next().await {
            let is_page = matches!(visit, Visit::Page { .. });
            seen.push(visit);
            // One page too many tells that there are more.
            match (is_page, pages_left) {
                (true, 0) => break,
                (true, _) => pages_left -= 1,
                (false, _) => {}
            }
        }
        drop(visits);
        self.requests += seen.len();
        let (mut next, mut worked) = (Vec::new(), false);
        for (url, visit) in fresh.iter().zip(seen) {
            match visit {
                Visit::Failed(error) => {
                    self.blind |= is_inner;
                    first_failure.get_or_insert_with(|| error.clone());
                    // The sync asks once more, and tells what comes of it.
                    self.add(page(url, None, None));
                    continue;
                }
                Visit::Page { item, leads } => {
                    self.asked.insert(item.key.clone());
                    self.add(item);
                    next.extend(leads);
                }
                Visit::Way(leads) => {
                    self.no_pages.insert(url.to_string());
                    next.extend(leads);
                }
                Visit::Nothing => drop(self.no_pages.insert(url.to_string())),
            }
            worked = true;
        }
        if fresh.len() > room
            && let Some(url) = fresh.get(room)
        {
            self.leave_out(url.as_str(), "more addresses lead to no page");
        }
        match first_failure
            .or(self.no_rules.clone())
            .filter(|_| is_start && !worked)
        {
            Some(error) => Err(error),
            None => Ok(next),
        }
    }

    fn most_requests(&self) -> usize {
        REQUESTS_PER_PAGE * self.web.settings.max_pages + MORE_REQUESTS
    }

    fn add(&mut self, item: Item) {
        if self.listed.contains(&item.key) {
            return;
        }
        if self.items.len() >= self.web.settings.max_pages {
            self.leave_out(&item.key, "there are more pages than max_pages");
        } else {
            self.listed.insert(item.key.clone());
            self.items.push(item);
        }
    }

    /// Tells by the first page that is left out that there are such.
    fn leave_out(&mut self, key: &str, why: &str) {
        let Some(url) = Url::parse(key).ok().filter(|_| !self.is_full) else {
            return;
        };
        self.is_full = true;
        if self.listed.insert(key.to_owned()) {
            let why = format!("{why}: this and what follows is left out");
            self.items.push(Item {
                access: Access::Unknown(SourceError::Refused(why)),
                ..page(&url, None, None)
            });
        }
    }

    /// Pages that the last sync knew and that this one did not come to, because what leads there could not be read.
    fn keep_what_was_there(&mut self) {
        let recalled = self.web.recalled().clone();
        for (key, marker) in recalled {
            let url = Url::parse(&key).ok().filter(|url| self.web.scope.holds(url));
            if let Some(url) = url.filter(|_| !self.no_pages.contains(&key)) {
                self.add(page(&url, None, marker));
            }
        }
    }

    /// Whether a host's rules allow an address; they are asked for once.
    async fn is_allowed(&mut self, url: &Url) -> Result<bool, SourceError> {
        let host = address::host(url);
        if !self.robots.contains_key(&host) {
            let robots = self.rules(url).await;
            if !robots.delay.is_zero() {
                self.pace.insert(host.clone(), Mutex::default());
            }
            self.robots.insert(host.clone(), robots);
        }
        Ok(self.robots[&host].allows(path(url)))
    }

    async fn rules(&mut self, url: &Url) -> Robots {
        let Ok(at) = url.join("/robots.txt") else {
            return Robots::closed();
        };
        let read = async {
            let answer = self.web.guard.open(at.as_str(), HeaderMap::new()).await?;
            answer.successful()?.bytes(robots::MAX_BYTES).await
        };
        match read.await {
            Ok(bytes) => Robots::parse(&String::from_utf8_lossy(&bytes)),
            Err(GuardError::Status {
                status: 400..=428 | 430..=499,
                ..
            }) => Robots::open(),
            Err(GuardError::TooLarge { .. }) => Robots::open(),
            // RFC 9309, 2.3.1.4: what cannot be reached forbids everything.
            Err(error) => {
                self.blind = true;
                self.no_rules = Some(told(error));
                Robots::closed()
            }
        }
    }
}

/// The path of an address with its query, as `robots.txt` means it.
fn path(url: &Url) -> &str {
    let whole = url.as_str();
    let behind = whole.find("://").map_or(0, |at| at + 3);
    whole[behind..].find('/').map_or("/", |at| &whole[behind + at..])
}

fn page(url: &Url, media_type: Option<&str>, marker: Option<String>) -> Item {
    let last = url
        .path_segments()
        .and_then(|mut all| all.next_back())
        .unwrap_or_default();
    let last = if last.is_empty() { "index" } else { last };
    let is_html = media_type.is_none_or(|media| media.contains("html"));
    Item {
        key: url.to_string(),
        uri: url.to_string(),
        name: match is_html && !last.contains('.') {
            true => format!("{last}.html"),
            false => last.to_owned(),
        },
        title: None,
        source_url: Some(url.to_string()),
        marker,
        access: Access::Unsaid,
    }
}
