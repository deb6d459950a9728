//! Whose names are whose: `upload://<subject>/…` belongs to its subject.
//!
//! Invariant: a subject is compared as people read it, so no spelling of somebody's name (percent-encoded, in other case,
//! in another Unicode form, with characters that nobody sees) is a place beside it for somebody else.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use unicode_normalization::UnicodeNormalization;

use crate::access::{Principal, Role};
use crate::document::DocumentUri;
use crate::seam::CatalogueError;

/// The scheme of uploads that were given no name of their own.
const UPLOAD_SCHEME: &str = "upload://";
/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encoded, all but unreserved characters.
pub fn percent_encode_text(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// What a file of this name is called that `principal` uploads without a URI.
pub fn upload_uri(principal: &Principal, name: &str) -> String {
    let subject = percent_encode_text(principal.subject());
    format!("{UPLOAD_SCHEME}{subject}/{}", percent_encode_text(name))
}

/// The URI as `principal` may use it: of its own uploads in the one spelling that those have. Somebody else's is taken,
/// whether or not a document has it; an administrator may use any.
pub(super) fn usable_uri(principal: &Principal, uri: DocumentUri) -> Result<String, CatalogueError> {
    let uri = String::from(uri);
    // What comes behind the subject is its own affair.
    let read = normalize_for_comparison(&uri);
    if principal.role() == Role::Admin || !["upload:/", "upload:\\"].iter().any(|begin| read.starts_with(begin)) {
        return Ok(uri);
    }
    let begin = uri.get(..UPLOAD_SCHEME.len()).unwrap_or_default();
    let rest = &uri[begin.len()..];
    let (subject, path) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    let is_own = begin.eq_ignore_ascii_case(UPLOAD_SCHEME)
        && normalize_for_comparison(subject) == normalize_for_comparison(&percent_encode_text(principal.subject()));
    match is_own {
        true => Ok(format!(
            "{UPLOAD_SCHEME}{}{path}",
            percent_encode_text(principal.subject())
        )),
        false => Err(CatalogueError::UriTaken),
    }
}

/// The text as people read it: decoded, in compatibility form and lower case, without what is not seen.
fn normalize_for_comparison(text: &str) -> String {
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    let lower: String = decoded.nfkc().flat_map(char::to_lowercase).collect();
    lower.nfkc().filter(|c| !is_invisible(*c)).collect()
}

/// White space, control characters, and those that only change how others are shown.
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::ReaderSet;

    fn caller(subject: &str, role: Role) -> Principal {
        Principal::verified("acme".parse().unwrap(), subject.into(), ReaderSet::new(), role)
    }

    fn used(caller: &Principal, uri: &str) -> Option<String> {
        usable_uri(caller, uri.parse().unwrap()).ok()
    }

    #[test]
    fn an_upload_belongs_to_its_subject_however_that_is_spelt() {
        let (ada, eve) = (caller("ada", Role::Writer), caller("eve", Role::Writer));
        let operator = Principal::local_operator();
        for uri in [
            "upload://ada/a.pdf",
            "upload://ADA/a.pdf",
            "UPLOAD://ada/a.pdf",
            "upload://%61da/a.pdf",
            "upload://%41%44%41/a.pdf",
            "upload://\u{ff41}da/a.pdf",
            "upload://a%E2%80%8Bda/a.pdf",
            "upload://a\u{200b}da/a.pdf",
        ] {
            assert_eq!(used(&ada, uri).as_deref(), Some("upload://ada/a.pdf"), "{uri}");
            assert_eq!(used(&eve, uri), None, "{uri}");
            assert_eq!(used(&operator, uri).as_deref(), Some(uri));
        }
        for uri in [
            "upload:/ada/a.pdf",
            "upload:\\\\ada\\a.pdf",
            "upl%6Fad://ada/a.pdf",
            "\u{200b}upload://ada/a.pdf",
            " upload://ada/a.pdf",
            "upload:///a.pdf",
            "upload://ada@eve/a.pdf",
        ] {
            assert_eq!((used(&ada, uri), used(&eve, uri)), (None, None), "{uri}");
        }
        assert_eq!(used(&ada, "upload://ada").as_deref(), Some("upload://ada"));
        for uri in [
            "uploads://ada/a.pdf",
            "https://x.test/upload://ada/",
            "upload: notes",
            "ada",
        ] {
            assert_eq!(used(&eve, uri).as_deref(), Some(uri));
        }
    }

    #[test]
    fn subjects_with_letters_of_any_script_keep_their_own_place() {
        for subject in ["J\u{f6}rg M\u{fc}ller", "j\u{f6}rg/m", "100%", "key:0f", "\u{e1}da"] {
            let owner = caller(subject, Role::Writer);
            let uri = upload_uri(&owner, "Bericht M\u{e4}rz.pdf");
            assert_eq!(used(&owner, &uri).as_deref(), Some(uri.as_str()));
            assert_eq!(used(&caller("ada", Role::Writer), &uri), None, "{uri}");
        }
        // Composed and decomposed letters are one name.
        let composed = caller("J\u{f6}rg", Role::Writer);
        let uri = "upload://Jo%CC%88rg/a";
        assert_eq!(used(&composed, uri).as_deref(), Some("upload://J%C3%B6rg/a"));
    }
}
