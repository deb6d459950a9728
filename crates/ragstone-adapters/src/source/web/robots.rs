//! Rules of `robots.txt` (RFC 9309).
//!
//! Paths and patterns are compared in one form (RFC 9309, 2.2.2): characters that need no encoding are decoded, all
//! others are percent-encoded with upper-case digits.

use std::time::Duration;

/// Most bytes of the file that are read (RFC 9309, 2.5, requires at least this many).
pub(super) const MAX_BYTES: usize = 500 << 10;
/// Name of this crawler in `robots.txt`.
const USER_AGENT: &str = "ragstone";
/// Longest delay between two requests that is respected.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Most rules of a file; further ones are ignored.
const MAX_RULES: usize = 10_000;
/// Most steps to match a path with a pattern.
const MAX_STEPS: usize = 100_000;
/// Characters that are not encoded in a path, besides letters, digits and the unreserved ones.
const PLAIN_IN_PATH: &[u8] = b":/?#[]@!&'()+,;=";
/// Characters that are not encoded in a query: the RFC's table encodes the others.
const PLAIN_IN_QUERY: &[u8] = b"!&'()+,;=";

/// What the `robots.txt` of one host allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RobotsRules {
    /// Patterns, and whether each allows or forbids.
    rules: Vec<(String, bool)>,
    /// Delay between two requests.
    pub delay: Duration,
    closed: bool,
}

/// The rules for one group of crawlers.
#[derive(Default)]
struct AgentGroup {
    agents: Vec<String>,
    rules: Vec<(String, bool)>,
    delay: Option<f64>,
}

impl RobotsRules {
    /// Rules that allow everything.
    pub fn allow_all() -> Self {
        Self::default()
    }

    /// Rules that forbid everything.
    pub fn deny_all() -> Self {
        Self {
            closed: true,
            ..Self::default()
        }
    }

    /// Parses a file: the groups for this crawler, or the groups for all crawlers if there are none.
    pub fn parse_rules(text: &str) -> Self {
        let groups = parse_groups(text);
        let of = |name: &str| {
            let mine = groups
                .iter()
                .filter(|group| group.agents.iter().any(|agent| agent == name));
            mine.collect::<Vec<_>>()
        };
        let mine = Some(of(USER_AGENT))
            .filter(|mine| !mine.is_empty())
            .unwrap_or_else(|| of("*"));
        let delay = mine.iter().filter_map(|group| group.delay).fold(0.0, f64::max);
        Self {
            rules: mine
                .iter()
                .flat_map(|group| group.rules.iter().cloned())
                .take(MAX_RULES)
                .collect(),
            delay: Duration::try_from_secs_f64(delay).unwrap_or(MAX_DELAY).min(MAX_DELAY),
            closed: false,
        }
    }

    /// Whether everything is forbidden because the rules could not be read.
    pub fn is_deny_all(&self) -> bool {
        self.closed
    }

    /// Whether a path with its query may be requested: the longest matching pattern decides, and of two equally long
    /// ones the one that allows.
    pub fn allows_path(&self, path: &str) -> bool {
        if self.closed {
            return false;
        }
        let path = normalise_path(path.as_bytes());
        let fitting = self.rules.iter().filter(|(pattern, _)| matches_pattern(pattern, &path));
        fitting
            .max_by_key(|(pattern, allows)| (pattern.len(), *allows))
            .is_none_or(|(_, allows)| *allows)
    }
}

fn parse_groups(text: &str) -> Vec<AgentGroup> {
    let mut groups: Vec<AgentGroup> = Vec::new();
    let mut names = false;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match field.trim().to_ascii_lowercase().as_str() {
            "user-agent" => {
                if !names {
                    groups.push(AgentGroup::default());
                }
                names = true;
                if let Some(group) = groups.last_mut() {
                    // Only the name in `name/1.0` counts.
                    let name = value.split('/').next().unwrap_or_default().trim().to_ascii_lowercase();
                    group.agents.push(name);
                }
            }
            rule @ ("allow" | "disallow") => {
                names = false;
                if let Some(group) = groups.last_mut().filter(|_| !value.is_empty()) {
                    group.rules.push((normalise_pattern(value), rule == "allow"));
                }
            }
            "crawl-delay" => {
                names = false;
                if let Some(group) = groups.last_mut() {
                    group.delay = value.parse().ok().filter(|seconds: &f64| *seconds >= 0.0);
                }
            }
            _ => {}
        }
    }
    groups
}

/// Normalises a pattern; its `*`, and a `$` at its end, keep their meaning.
fn normalise_pattern(pattern: &str) -> String {
    let (pattern, end) = match pattern.strip_suffix('$') {
        Some(pattern) => (pattern, "$"),
        None => (pattern, ""),
    };
    let parts: Vec<String> = pattern.split('*').map(|part| normalise_path(part.as_bytes())).collect();
    parts.join("*") + end
}

/// Normalises a path. A `*` or `$` in a path is encoded, so that it has no special meaning.
fn normalise_path(path: &[u8]) -> String {
    let (mut text, mut rest, mut plain) = (String::with_capacity(path.len()), path, PLAIN_IN_PATH);
    while let [first, behind @ ..] = rest {
        rest = behind;
        let encoded = match (first, behind) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)).map(|(high, low)| 16 * high + low),
            _ => None,
        };
        let byte = encoded.unwrap_or(*first);
        if encoded.is_some() {
            rest = &behind[2..];
        }
        let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if is_unreserved || encoded.is_none() && plain.contains(&byte) {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        if *first == b'?' {
            plain = PLAIN_IN_QUERY;
        }
    }
    text
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Whether a path starts with a pattern: `*` matches anything, `$` at the end matches the end of the path.
fn matches_pattern(pattern: &str, path: &str) -> bool {
    let (pattern, to_the_end) = match pattern.strip_suffix('$') {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
    let (mut p, mut t, mut back) = (0, 0, None);
    for _ in 0..MAX_STEPS {
        if p == pattern.len() && (!to_the_end || t == path.len()) {
            return true;
        }
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if path.get(t) == Some(byte) => (p, t) = (p + 1, t + 1),
            _ => match back {
                // Backtrack: the last star matches one byte more.
                Some((after, from)) if from < path.len() => {
                    back = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                _ => return false,
            },
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_in_one_form() {
        // The examples of RFC 9309, 2.2.2, and what users of it write.
        for (pattern, path, expected) in [
            ("/foo/bar?baz=quz", "/foo/bar?baz=quz", true),
            (
                "/foo/bar?baz=https://foo.bar",
                "/foo/bar?baz=https%3A%2F%2Ffoo.bar",
                true,
            ),
            (
                "/foo/bar?baz=https%3A%2F%2Ffoo.bar",
                "/foo/bar?baz=https://foo.bar/x",
                true,
            ),
            ("/foo/bar/\u{1f60a}", "/foo/bar/%F0%9F%98%8A", true),
            ("/foo/bar/%F0%9f%98%8a", "/foo/bar/\u{1f60a}", true),
            ("/foo/bar/%62%61%7A", "/foo/bar/baz", true),
            ("/foo/bar/baz", "/foo/bar/%62%61%7a", true),
            ("/%7Ejoe/", "/~joe/x", true),
            ("/a%3cd.html", "/a%3Cd.html", true),
            ("/a%2fb", "/a/b", false),
            ("/private docs", "/private%20docs/x", true),
            ("/stra\u{df}e", "/stra%c3%9fe", true),
            ("/file-with-a-%2A.html", "/file-with-a-*.html", true),
            ("/foo/%24", "/foo/$", true),
            ("/foo/$", "/foo/$", false),
            ("/100%", "/100%25", true),
            ("/100%25", "/100%", true),
        ] {
            let robots = RobotsRules::parse_rules(&format!("user-agent: *\ndisallow: {pattern}"));
            assert_eq!(!robots.allows_path(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_longest_pattern_decides() {
        let robots = RobotsRules::parse_rules(
            "\u{feff}# of somebody else\nUser-agent: other\nDisallow: /\n\nUser-Agent: first\nuser-agent: Ragstone/1.0\n\
             Disallow: /private # not this\nAllow: /private/open\nDisallow: /*.pdf$\nDisallow:\nCrawl-delay: 2.5\n\
             Disallow: /a*b*c\nsitemap: https://x/s.xml\n\nUser-agent: *\nDisallow: /\n",
        );
        for (path, expected) in [
            ("/", true),
            ("/private", false),
            ("/private/x", false),
            ("/private/open/x", true),
            ("/x.pdf", false),
            ("/x.pdf?y", true),
            ("/a1b2c3", false),
            ("/a1b2", true),
        ] {
            assert_eq!(robots.allows_path(path), expected, "{path}");
        }
        assert_eq!(robots.delay, Duration::from_millis(2_500));
        assert!(!RobotsRules::parse_rules("user-agent: *\ndisallow: /\nuser-agent: bing\nallow: /").allows_path("/x"));
        assert!(RobotsRules::parse_rules("disallow: /\nnonsense").allows_path("/x"));
        assert!(RobotsRules::allow_all().allows_path("/x") && !RobotsRules::deny_all().allows_path("/x"));
        assert_eq!(
            RobotsRules::parse_rules("user-agent: *\ncrawl-delay: 1e99").delay,
            MAX_DELAY
        );
        let hostile = format!("user-agent: *\ndisallow: /{}x", "*a".repeat(1_000));
        assert!(RobotsRules::parse_rules(&hostile).allows_path(&format!("/{}", "a".repeat(2_000))));
    }
}
