//! Collects the pages that sitemaps name.
//!
//! Invariant: a sitemap that cannot be read loses only the pages that it names; those that were known are kept.

use std::collections::{HashSet, VecDeque};

use ragstone_core::seam::source::SourceError;
use reqwest::Url;
use reqwest::header::HeaderMap;

use super::super::sitemap::{self, Sitemap};
use super::super::{address, to_source_error};
use super::WebCrawl;

/// Most sitemaps of one source, including those that sitemaps name.
const MAX_SITEMAPS: usize = 1_000;
/// Most levels of sitemaps that name other sitemaps; sitemaps.org has one.
const MAX_LEVELS: usize = 5;

impl WebCrawl<'_> {
    /// The pages of the sitemaps in the settings, and of the sitemaps that these name.
    pub(super) async fn list_sitemap_pages(&mut self) -> Vec<Url> {
        // Breadth first, so that each sitemap is reached by its shortest path.
        let (mut known, mut waiting) = (HashSet::new(), VecDeque::new());
        for map in &self.web.sitemaps {
            if known.insert(map.clone()) {
                waiting.push_back((map.clone(), 1));
            }
        }
        let (mut pages, mut read) = (Vec::new(), 0);
        while let Some((map, level)) = waiting.pop_front() {
            read += 1;
            if level > MAX_LEVELS {
                let why = format!("more than {MAX_LEVELS} levels of sitemaps lead to it");
                self.record_unread_sitemap(&map, SourceError::Refused(why));
                continue;
            }
            if read > MAX_SITEMAPS {
                let why = format!("there are more than {MAX_SITEMAPS} sitemaps: this and what follows is left out");
                self.record_unread_sitemap(&map, SourceError::Refused(why));
                break;
            }
            match self.fetch_sitemap(&map).await {
                Ok(found) => {
                    for deeper in normalise_urls(found.sitemaps) {
                        // One too many is enough to show that there are more.
                        if known.len() <= MAX_SITEMAPS && known.insert(deeper.clone()) {
                            waiting.push_back((deeper, level + 1));
                        }
                    }
                    self.take_pages(&map, found.pages, &mut pages);
                    if let Some(why) = found.incomplete_reason {
                        self.record_unread_sitemap(&map, SourceError::Refused(why.into()));
                    }
                }
                Err(error) => self.record_unread_sitemap(&map, error),
            }
            if pages.len() > self.max_requests() {
                break;
            }
        }
        pages
    }

    async fn fetch_sitemap(&self, map: &Url) -> Result<Sitemap, SourceError> {
        let answer = self
            .web
            .send_request(map, &HeaderMap::new(), &|_| true)
            .await
            .map_err(to_source_error)?;
        let answer = answer.ensure_success().map_err(to_source_error)?;
        let bytes = answer
            .read_packed_bytes(sitemap::MAX_BYTES)
            .await
            .map_err(to_source_error)?;
        let parsed = tokio::task::spawn_blocking(move || sitemap::parse_sitemap(&bytes)).await;
        match parsed {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(SourceError::Broken(format!("{map}: {error}"))),
            Err(error) => Err(SourceError::Broken(error.to_string())),
        }
    }

    /// Adds the pages that belong to the source; reports a sitemap that names only others.
    fn take_pages(&mut self, map: &Url, named: Vec<String>, pages: &mut Vec<Url>) {
        let count = named.len();
        let all: Vec<Url> = normalise_urls(named).collect();
        let elsewhere = all.first().map(address::host_with_port);
        let before = pages.len();
        // A sitemap may use another name of its own site in its pages' addresses.
        for url in &all {
            if address::is_same_site(url, map) || address::is_same_site(map, url) {
                self.web.scope.admit_host(url);
            }
        }
        pages.extend(all.into_iter().filter(|url| self.web.scope.contains_url(url)));
        if pages.len() > before {
            return;
        }
        match elsewhere {
            Some(host) => {
                let why = format!(
                    "none of the {count} pages that it names is meant: the first is at {host}; name its host and \
                     paths in the settings"
                );
                self.report_gap(map, SourceError::Refused(why));
            }
            None => self.record_reason(map, "it names no page"),
        }
    }

    /// Records that the pages of a sitemap are not known.
    fn record_unread_sitemap(&mut self, map: &Url, error: SourceError) {
        self.is_incomplete = true;
        match error {
            SourceError::Gone(_) => {
                self.report_gap(map, SourceError::Refused("there is no such sitemap".into()));
            }
            error => {
                self.unread.get_or_insert_with(|| error.clone());
                self.report_gap(map, error);
            }
        }
    }
}

fn normalise_urls(texts: Vec<String>) -> impl Iterator<Item = Url> {
    texts
        .into_iter()
        .filter_map(|text| address::normalise_url(Url::parse(&text).ok()?))
}
