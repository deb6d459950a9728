//! `robots.txt` rules of each host, requested once per listing.
//!
//! Invariant: an address is requested only if its host's `robots.txt` was read or certainly does not exist.

use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::sync::Mutex;

use super::super::robots::{self, RobotsRules};
use super::super::{address, to_source_error};
use super::WebCrawl;
use crate::source::guard::GuardError;

impl WebCrawl<'_> {
    /// Whether the rules of an address's host allow it; they are requested once.
    pub(super) async fn is_allowed(&mut self, url: &Url) -> bool {
        let host = address::host_with_port(url);
        if !self.robots.contains_key(&host) {
            let robots = self.fetch_rules(url).await;
            if !robots.delay.is_zero() {
                self.pace.insert(host.clone(), Mutex::default());
            }
            self.robots.insert(host.clone(), robots);
        }
        self.robots[&host].allows_path(path_with_query(url))
    }

    async fn fetch_rules(&mut self, url: &Url) -> RobotsRules {
        let Ok(at) = url.join("/robots.txt") else {
            return RobotsRules::deny_all();
        };
        let read = async {
            let answer = self.web.send_request(&at, &HeaderMap::new(), &|_| true).await?;
            answer.ensure_success()?.read_bytes(robots::MAX_BYTES).await
        };
        match read.await {
            Ok(bytes) => RobotsRules::parse_rules(&String::from_utf8_lossy(&bytes)),
            Err(GuardError::Status {
                status: 400..=428 | 430..=499,
                ..
            }) => RobotsRules::allow_all(),
            Err(GuardError::TooLarge { .. }) => RobotsRules::allow_all(),
            // RFC 9309, 2.3.1.4: a `robots.txt` that cannot be reached forbids everything.
            Err(error) => {
                self.is_incomplete = true;
                self.unread.get_or_insert_with(|| to_source_error(error));
                RobotsRules::deny_all()
            }
        }
    }
}

/// Path of an address with its query, which `robots.txt` patterns are matched against.
pub(super) fn path_with_query(url: &Url) -> &str {
    let whole = url.as_str();
    let behind = whole.find("://").map_or(0, |at| at + 3);
    whole[behind..].find('/').map_or("/", |at| &whole[behind + at..])
}
