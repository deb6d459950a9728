//! The name of a document within its source, as callers give it; validated once, on input.
//!
//! Invariant: a name from outside is never one that the library makes itself, so nobody can replace a file in somebody
//! else's mail.

use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;

/// Longest URI, in bytes.
pub const MAX_URI_BYTES: usize = 4 * 1024;
/// Separates a mail from a file in it within a URI; only the library makes such names.
pub const ATTACHMENT_MARK: &str = "#attachment/";

/// A document's name within its source, as a caller gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentUri(String);

/// Why a URI was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Empty, too long, or with control characters.
    #[error("a uri has 1 to {MAX_URI_BYTES} bytes and no control characters")]
    Malformed,
    /// It looks like the name of a file in a mail.
    #[error("a uri with `{ATTACHMENT_MARK}` names a file in a mail, which comes with its mail only")]
    Reserved,
}

impl DocumentUri {
    /// The URI as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DocumentUri {
    type Err = UriError;
    fn from_str(value: &str) -> Result<Self, UriError> {
        let fits = (1..=MAX_URI_BYTES).contains(&value.len()) && !value.chars().any(char::is_control);
        // Full-width and other compatibility forms look like the mark itself to people.
        let looks_like: String = value.nfkc().flat_map(char::to_lowercase).collect();
        match fits {
            false => Err(UriError::Malformed),
            true if looks_like.contains(ATTACHMENT_MARK) => Err(UriError::Reserved),
            true => Ok(Self(value.to_owned())),
        }
    }
}

impl From<DocumentUri> for String {
    fn from(value: DocumentUri) -> String {
        value.0
    }
}

impl fmt::Display for DocumentUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_any_text_but_what_the_library_names_itself() {
        let check = |uri: &str, expected: Result<(), UriError>| {
            assert_eq!(uri.parse::<DocumentUri>().map(drop), expected, "{uri}");
        };
        check("doc-1", Ok(()));
        check("https://x.test/a b?c#d", Ok(()));
        check("file:///a%23attachment/1/x", Ok(()));
        check("mail.eml#attachments", Ok(()));
        check(&"a".repeat(MAX_URI_BYTES), Ok(()));
        check(&"a".repeat(MAX_URI_BYTES + 1), Err(UriError::Malformed));
        check("", Err(UriError::Malformed));
        check("a\nb", Err(UriError::Malformed));
        check("a\u{85}b", Err(UriError::Malformed));
        check("mail.eml#attachment/0/a.pdf", Err(UriError::Reserved));
        check("mail.eml#ATTACHMENT/0/a.pdf", Err(UriError::Reserved));
        check("mail.eml\u{ff03}attachment/0/a.pdf", Err(UriError::Reserved));
    }
}
