//! `robots.txt`, as RFC 9309 has it.
//!
//! Paths and patterns are compared in one form (RFC 9309, 2.2.2): characters that need no encoding are decoded, everything
//! else is percent-encoded, with capital digits.

use std::time::Duration;

/// Bytes that are read of it (RFC 9309, 2.5, asks for at least these).
pub(super) const MAX_BYTES: usize = 500 << 10;
/// As whom we come.
const USER_AGENT: &str = "ragstone";
/// The longest pause between two requests that is kept to.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Rules of a file; more are left out.
const MAX_RULES: usize = 10_000;
/// Most steps to compare a path with a pattern.
const MAX_STEPS: usize = 100_000;
/// Characters that stand in a path as they are, beside letters, digits and the unreserved ones.
const PLAIN_IN_PATH: &[u8] = b":/?#[]@!&'()+,;=";
/// Those of a query: the RFC's table encodes the others.
const PLAIN_IN_QUERY: &[u8] = b"!&'()+,;=";

/// What a host allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RobotsRules {
    /// Patterns, and whether they allow.
    rules: Vec<(String, bool)>,
    /// Between two requests.
    pub delay: Duration,
    closed: bool,
}

/// Lines for some visitors.
#[derive(Default)]
struct AgentGroup {
    agents: Vec<String>,
    rules: Vec<(String, bool)>,
    delay: Option<f64>,
}

impl RobotsRules {
    /// Everything is allowed.
    pub fn allow_all() -> Self {
        Self::default()
    }

    /// Nothing is.
    pub fn deny_all() -> Self {
        Self {
            closed: true,
            ..Self::default()
        }
    }

    /// What a file says to us: its groups for us, else those for everybody.
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

    /// Whether nothing is allowed because the rules could not be read.
    pub fn is_deny_all(&self) -> bool {
        self.closed
    }

    /// Whether a path with its query may be asked for: the longest pattern that fits decides, and allows if two are as
    /// long.
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
                    // Of `name/1.0` the name counts.
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

/// A pattern in the form that is compared: its stars, and a dollar sign at its end, keep their meaning.
fn normalise_pattern(pattern: &str) -> String {
    let (pattern, end) = match pattern.strip_suffix('$') {
        Some(pattern) => (pattern, "$"),
        None => (pattern, ""),
    };
    let parts: Vec<String> = pattern.split('*').map(|part| normalise_path(part.as_bytes())).collect();
    parts.join("*") + end
}

/// A path in the form that is compared. A star or dollar sign of a path is encoded, so that none has a meaning.
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

/// Whether a path begins as a pattern says: `*` stands for anything, `$` at the end for the path's end.
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
                // The last star takes one byte more.
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
