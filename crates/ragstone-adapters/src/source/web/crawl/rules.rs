//! What each host allows, asked for once.
//!
//! Invariant: an address is asked for only if its host's `robots.txt` was read, or is certainly not there.

use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::sync::Mutex;

use super::super::robots::{self, Robots};
use super::super::{address, told};
use super::Crawl;
use crate::source::guard::GuardError;

impl Crawl<'_> {
    /// Whether a host's rules allow an address; they are asked for once.
    pub(super) async fn is_allowed(&mut self, url: &Url) -> bool {
        let host = address::host(url);
        if !self.robots.contains_key(&host) {
            let robots = self.rules(url).await;
            if !robots.delay.is_zero() {
                self.pace.insert(host.clone(), Mutex::default());
            }
            self.robots.insert(host.clone(), robots);
        }
        self.robots[&host].allows(path(url))
    }

    async fn rules(&mut self, url: &Url) -> Robots {
        let Ok(at) = url.join("/robots.txt") else {
            return Robots::closed();
        };
        let read = async {
            let answer = self.web.ask(&at, &HeaderMap::new(), &|_| true).await?;
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
                self.unread.get_or_insert_with(|| told(error));
                Robots::closed()
            }
        }
    }
}

/// The path of an address with its query, as `robots.txt` means it.
pub(super) fn path(url: &Url) -> &str {
    let whole = url.as_str();
    let behind = whole.find("://").map_or(0, |at| at + 3);
    whole[behind..].find('/').map_or("/", |at| &whole[behind + at..])
}
