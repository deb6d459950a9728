//! The address where a person can open a document: a web address, and nothing that a reader's program would execute.
//!
//! Invariant: a value of this type begins with `http://` or `https://` and a host, and has no control characters.
//! Stored values from before this rule are read as `None` if they break it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest address, in bytes.
pub const MAX_SOURCE_URL_BYTES: usize = 4 * 1024;

/// An address that answers may link to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SourceUrl(String);

/// Why an address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a source_url begins with http:// or https:// and has at most {MAX_SOURCE_URL_BYTES} bytes and no control characters"
)]
pub struct SourceUrlError;

impl SourceUrl {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses a text that may be anything; `None` if it is not an address of this form.
    pub fn from_text(text: Option<&str>) -> Option<Self> {
        text?.parse().ok()
    }

    /// Deserialises like [`SourceUrl::from_text`], so that a document is not lost for a bad address.
    pub fn of_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(Self::from_text(text.as_deref()))
    }
}

impl FromStr for SourceUrl {
    type Err = SourceUrlError;
    fn from_str(value: &str) -> Result<Self, SourceUrlError> {
        let rest = ["http://", "https://"].iter().find_map(|scheme| {
            let (begin, rest) = value.split_at_checked(scheme.len())?;
            begin.eq_ignore_ascii_case(scheme).then_some(rest)
        });
        let has_host = rest.is_some_and(|rest| {
            let first = rest.chars().next();
            first.is_some_and(|c| c.is_alphanumeric() || matches!(c, '[' | '%' | '_' | '-'))
        });
        let fits = value.len() <= MAX_SOURCE_URL_BYTES && !value.chars().any(char::is_control);
        match has_host && fits {
            true => Ok(Self(value.to_owned())),
            false => Err(SourceUrlError),
        }
    }
}

impl From<SourceUrl> for String {
    fn from(value: SourceUrl) -> String {
        value.0
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_web_or_none() {
        let check = |text: &str, expected: bool| {
            assert_eq!(text.parse::<SourceUrl>().is_ok(), expected, "{text}");
            assert_eq!(SourceUrl::from_text(Some(text)).is_some(), expected, "{text}");
        };
        check("https://x.test/a b?c#d", true);
        check("HTTP://x.test", true);
        check("https://[::1]:8080/", true);
        check("https://m\u{fc}ller.test/", true);
        check(
            &format!("https://x.test/{}", "a".repeat(MAX_SOURCE_URL_BYTES - 15)),
            true,
        );
        check(&format!("https://x.test/{}", "a".repeat(MAX_SOURCE_URL_BYTES)), false);
        for bad in [
            "",
            "x.test",
            "//x.test/",
            "http:",
            "https://",
            "https:///etc/passwd",
            "https:\\\\x.test",
            "javascript:alert(1)",
            "JavaScript:alert(1)//https://x.test",
            " https://x.test",
            "\thttps://x.test",
            "java\nscript:alert(1)",
            "https://x.test/\u{0}",
            "https://x.test/\u{85}",
            "data:text/html,x",
            "file:///etc/passwd",
            "vbscript:x",
            "ftp://x.test/",
        ] {
            check(bad, false);
        }
    }
}
