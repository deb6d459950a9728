//! Addresses of pages: normalises them, and decides which belong to a source.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use ragstone_core::seam::source::SourceError;
use reqwest::Url;

use super::WebSettings;

/// Longest address that is followed, in bytes.
const MAX_BYTES: usize = 2_048;
/// Query parameters that track readers and do not select content.
const TRACKING: [&str; 6] = ["gclid", "fbclid", "msclkid", "mc_cid", "mc_eid", "_ga"];
/// Prefix of further such parameters.
const TRACKING_PREFIX: &str = "utm_";

/// Parses an address that the settings name.
pub(super) fn parse_page_url(text: &str) -> Result<Url, SourceError> {
    let refused = |why: &str| SourceError::Refused(format!("{text:?} is no address of a page: {why}"));
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceError::Refused("an address carries a name or password".into()));
    }
    normalise_url(url).ok_or_else(|| refused("it begins with https:// or http:// and has at most 2048 bytes"))
}

/// Normalises an address: no fragment, no tracking parameters. `None` if it cannot be a page's address.
pub(super) fn normalise_url(mut url: Url) -> Option<Url> {
    let is_plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    if !is_plain || url.as_str().len() > MAX_BYTES || url.host_str().is_none() {
        return None;
    }
    url.set_fragment(None);
    let is_tracking = |name: &str| TRACKING.contains(&name) || name.starts_with(TRACKING_PREFIX);
    if url.query_pairs().any(|(name, _)| is_tracking(&name)) {
        let rest: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| !is_tracking(name))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.set_query(None);
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
    }
    if url.query() == Some("") {
        url.set_query(None);
    }
    Some(url)
}

/// Decides which pages belong to a source.
pub(super) struct CrawlScope {
    /// `host:port`, or names from the settings; hosts that start pages redirect to are added.
    hosts: RwLock<BTreeSet<String>>,
    paths: Vec<String>,
    exclude: Vec<String>,
}

impl CrawlScope {
    pub fn new<'a>(starts: impl Iterator<Item = &'a Url>, settings: &WebSettings) -> Self {
        let named = settings.hosts.iter().map(|host| host.to_ascii_lowercase());
        Self {
            hosts: RwLock::new(starts.map(host_with_port).chain(named).collect()),
            paths: settings.paths.clone(),
            exclude: settings.exclude.clone(),
        }
    }

    /// Adds the host of an address to those of the source.
    pub fn admit_host(&self, url: &Url) {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        hosts.insert(host_with_port(url));
    }

    /// Whether an address belongs to the source.
    pub fn contains_url(&self, url: &Url) -> bool {
        let begins = |prefix: &String| url.path().starts_with(prefix.as_str());
        // A host of the settings without a port means the default ports.
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        let is_ours = hosts.contains(&host_with_port(url))
            || url.port().is_none() && hosts.contains(url.host_str().unwrap_or_default());
        is_ours && (self.paths.is_empty() || self.paths.iter().any(begins)) && !self.exclude.iter().any(begins)
    }
}

/// Whether a redirect leads to another name of the same site: from http to https, or between `www.` and the bare name.
pub(super) fn is_same_site(from: &Url, to: &Url) -> bool {
    let bare = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        host.strip_prefix("www.").unwrap_or(host).to_owned()
    };
    let is_upgrade = from.scheme() == "http" && to.scheme() == "https";
    let is_same_door = from.scheme() == to.scheme() && from.port_or_known_default() == to.port_or_known_default();
    bare(from) == bare(to) && (is_upgrade || is_same_door)
}

/// Host and port of an address, as `host:port`.
pub(super) fn host_with_port(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_one_address() {
        let check = |text: &str, expected: Option<&str>| {
            let url = Url::parse(text).ok().and_then(normalise_url);
            assert_eq!(url.as_ref().map(Url::as_str), expected, "{text}");
        };
        check("HTTPS://Example.com:443/a/../b#c", Some("https://example.com/b"));
        check("https://x/a?utm_source=m&b=1&gclid=2", Some("https://x/a?b=1"));
        check("https://x/a?utm_source=m", Some("https://x/a"));
        check("https://x/a?", Some("https://x/a"));
        check("https://x/a?b=%20c", Some("https://x/a?b=%20c"));
        check("mailto:a@b", None);
        check("javascript:alert(1)", None);
        check("https://me:pass@x/", None);
        check(&format!("https://x/{}", "a".repeat(MAX_BYTES)), None);
        assert!(
            parse_page_url("https://x/").is_ok()
                && parse_page_url("x").is_err()
                && parse_page_url("https://me:p@x/").is_err()
        );
    }

    #[test]
    fn a_site_has_names_with_www_and_https() {
        for (from, to, expected) in [
            ("http://x.test/", "https://x.test/", true),
            ("http://x.test/", "https://www.x.test/start", true),
            ("https://www.x.test/", "https://x.test/", true),
            ("http://x.test:8080/", "https://x.test:8443/", true),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8081/", false),
            ("https://x.test/", "http://x.test/", false),
            ("https://x.test/", "https://x.test.evil.example/", false),
            ("https://x.test/", "https://login.x.test/", false),
            ("https://x.test/", "https://wwwx.test/", false),
        ] {
            let url = |text: &str| Url::parse(text).unwrap();
            assert_eq!(is_same_site(&url(from), &url(to)), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_scope_has_hosts_and_paths() {
        let settings = |value: serde_json::Value| serde_json::from_value::<WebSettings>(value).unwrap();
        let settings = settings(serde_json::json!({
            "hosts": ["Docs.example.com"], "paths": ["/guide"], "exclude": ["/guide/old"]
        }));
        let start = Url::parse("http://127.0.0.1:8080/").unwrap();
        let scope = CrawlScope::new([&start].into_iter(), &settings);
        for (text, expected) in [
            ("http://127.0.0.1:8080/guide/a", true),
            ("http://127.0.0.1:8081/guide/a", false),
            ("https://docs.example.com/guide", true),
            ("https://docs.example.com:8443/guide", false),
            ("https://evil.example.com/guide", false),
            ("https://docs.example.com/other", false),
            ("https://docs.example.com/guide/old/a", false),
        ] {
            assert_eq!(scope.contains_url(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }
}
