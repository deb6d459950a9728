//! `robots.txt`, as RFC 9309 has it.

use std::time::Duration;

/// Bytes that are read of it (RFC 9309, 2.5, asks for at least these).
pub(super) const MAX_BYTES: usize = 500 << 10;
/// As whom we come.
const OURS: &str = "ragstone";
/// The longest pause between two requests that is kept to.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Rules of a file; more are left out.
const MAX_RULES: usize = 10_000;
/// Most steps to compare a path with a pattern.
const MAX_STEPS: usize = 100_000;

/// What a host allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Robots {
    /// Patterns, and whether they allow.
    rules: Vec<(String, bool)>,
    /// Between two requests.
    pub delay: Duration,
    closed: bool,
}

/// Lines for some visitors.
#[derive(Default)]
struct Group {
    agents: Vec<String>,
    rules: Vec<(String, bool)>,
    delay: Option<f64>,
}

impl Robots {
    /// Everything is allowed.
    pub fn open() -> Self {
        Self::default()
    }

    /// Nothing is.
    pub fn closed() -> Self {
        Self {
            closed: true,
            ..Self::default()
        }
    }

    /// What a file says to us: its groups for us, else those for everybody.
    pub fn parse(text: &str) -> Self {
        let groups = groups(text);
        let of = |name: &str| {
            let mine = groups
                .iter()
                .filter(|group| group.agents.iter().any(|agent| agent == name));
            mine.collect::<Vec<_>>()
        };
        let mine = Some(of(OURS))
            .filter(|mine| !mine.is_empty())
            .unwrap_or_else(|| of("*"));
        let delay = mine.iter().filter_map(|group| group.delay).fold(0.0, f64::max);
        Self {
            rules: mine
                .iter()
                .flat_map(|group| group.rules.iter().cloned())
                .take(MAX_RULES)
                .collect(),
            delay: Duration::try_from_secs_f64(delay)
                .unwrap_or(MAX_DELAY)
                .min(MAX_DELAY),
            closed: false,
        }
    }

    /// Whether a path with its query may be asked for: the longest pattern that fits decides, and allows if two are as
    /// long.
    pub fn allows(&self, path: &str) -> bool {
        if self.closed {
            return false;
        }
        let fitting = self.rules.iter().filter(|(pattern, _)| fits(pattern, path));
        fitting
            .max_by_key(|(pattern, allows)| (pattern.len(), *allows))
            .is_none_or(|(_, allows)| *allows)
    }
}

fn groups(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
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
                    groups.push(Group::default());
                }
                names = true;
                if let Some(group) = groups.last_mut() {
                    // Of `name/1.0` the name counts.
                    let name = value
                        .split('/')
                        .next()
                        .unwrap_or_default()
                        .trim()
                        .to_ascii_lowercase();
                    group.agents.push(name);
                }
            }
            rule @ ("allow" | "disallow") => {
                names = false;
                if let Some(group) = groups.last_mut().filter(|_| !value.is_empty()) {
                    group.rules.push((value.to_owned(), rule == "allow"));
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

/// Whether a path begins as a pattern says: `*` stands for anything, `$` at the end for the path's end.
fn fits(pattern: &str, path: &str) -> bool {
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
    fn the_longest_pattern_decides() {
        let robots = Robots::parse(
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
            assert_eq!(robots.allows(path), expected, "{path}");
        }
        assert_eq!(robots.delay, Duration::from_millis(2_500));
        assert!(!Robots::parse("user-agent: *\ndisallow: /\nuser-agent: bing\nallow: /").allows("/x"));
        assert!(Robots::parse("disallow: /\nnonsense").allows("/x"));
        assert!(Robots::open().allows("/x") && !Robots::closed().allows("/x"));
        assert_eq!(Robots::parse("user-agent: *\ncrawl-delay: 1e99").delay, MAX_DELAY);
        let hostile = format!("user-agent: *\ndisallow: /{}x", "*a".repeat(1_000));
        assert!(Robots::parse(&hostile).allows(&format!("/{}", "a".repeat(2_000))));
    }
}
