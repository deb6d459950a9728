//! Pages with identical text: several addresses of one page, and sites that return one page for every address.
//!
//! Invariant: a page is left out as a duplicate only if its text is listed under another address.

use std::collections::{HashMap, HashSet};

use ragstone_core::seam::source::{HiddenItems, ListEntry, ListGap, SourceError};
use reqwest::Url;
use reqwest::header::HeaderMap;

use super::WebCrawl;
use super::visit::VisitOutcome;

/// From this number of addresses on, the same text at most of a site's addresses is taken for a placeholder.
const MIN_SAME: usize = 3;
/// Most pages that nothing leads to any more and that are requested once, to see what the site returns for them.
const MAX_LOST_ASKED: usize = 50;

impl WebCrawl<'_> {
    /// Drops pages that declare another page as canonical, if that page, or a listed page that declares it as well, has
    /// the same text.
    pub(super) fn drop_duplicate_pages(&mut self) {
        let texts: HashMap<&str, &str> = self
            .found
            .iter()
            .filter_map(|found| Some((found.item.key.as_str(), found.text.as_deref()?)))
            .collect();
        let mut seen: HashSet<(&str, &str)> = HashSet::new();
        let copies: HashSet<String> = self
            .found
            .iter()
            .filter(|found| {
                let (Some(text), Some(canonical)) = (found.text.as_deref(), found.canonical.as_ref()) else {
                    return false;
                };
                let canonical = canonical.as_str();
                canonical != found.item.key && (texts.get(canonical) == Some(&text) || !seen.insert((canonical, text)))
            })
            .map(|found| found.item.key.clone())
            .collect();
        self.found.retain(|found| !copies.contains(&found.item.key));
    }

    /// Checks what is gone, and drops pages that a site returns for most of its addresses alike: it is under
    /// maintenance, requires a login or has no 404 page. The documents known under those addresses are kept.
    pub(super) async fn drop_placeholder_pages(&mut self) -> Option<ListEntry> {
        if self.found.is_empty() {
            return None;
        }
        let lost = self.fetch_lost_texts().await;
        let texts = self
            .found
            .iter()
            .filter_map(|found| Some((found.item.key.as_str(), found.text.as_deref()?)));
        let mut addresses: HashMap<&str, Vec<&str>> = HashMap::new();
        let (mut all, mut longest) = (0, "");
        for (key, text) in texts.chain(lost.iter().map(|(key, text)| (key.as_str(), text.as_str()))) {
            all += 1;
            let same = addresses.entry(text).or_default();
            same.push(key);
            let count = same.len();
            if count > addresses.get(longest).map_or(0, Vec::len) {
                longest = text;
            }
        }
        let same = addresses
            .remove(longest)
            .filter(|same| same.len() >= MIN_SAME && 2 * same.len() > all)?;
        let same: HashSet<String> = same.into_iter().map(str::to_owned).collect();
        let error = SourceError::Broken(format!(
            "{} of {all} addresses give the very same page: the site may be under maintenance or want a login",
            same.len()
        ));
        let recalled = self.web.lock_previous_markers().clone();
        // A lost page that was not requested may be a placeholder, too.
        let hidden = recalled
            .into_keys()
            .filter(|key| same.contains(key) || !self.listed.contains(key));
        let hidden = hidden.filter(|key| !self.non_pages.contains(key)).collect();
        self.found.retain(|found| !same.contains(&found.item.key));
        Some(ListEntry::Gap(ListGap {
            uri: same.into_iter().min().unwrap_or_default(),
            error,
            hides: HiddenItems::Keys(hidden),
        }))
    }

    /// Texts of some of the known pages that nothing leads to any more.
    async fn fetch_lost_texts(&mut self) -> Vec<(String, String)> {
        let recalled = self.web.lock_previous_markers().clone();
        let lost = recalled
            .into_keys()
            .filter(|key| !self.listed.contains(key) && !self.non_pages.contains(key));
        let lost: Vec<Url> = lost
            .filter_map(|key| Url::parse(&key).ok())
            .take(MAX_LOST_ASKED)
            .collect();
        let mut texts = Vec::new();
        // A few lost pages are normal.
        if lost.len() + 1 < MIN_SAME {
            return texts;
        }
        for url in lost {
            if !self.web.scope.contains_url(&url) || !self.is_allowed(&url).await {
                continue;
            }
            if let VisitOutcome::Page { found, .. } = self.visit_with_headers(&url, HeaderMap::new(), false).await {
                texts.extend(found.text.clone().map(|text| (url.to_string(), text)));
            }
        }
        texts
    }
}
