//! Finds where the targets of Markdown links begin and end, and the hosts of addresses.
//!
//! Invariant: a target found in a text is also found in every longer text that begins with it.

/// Characters without which a target cannot lead out of its own page.
const LEADS: &str = "/\\:&%?#@<>";

/// What follows the bracket of a link or definition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkTarget<'a> {
    /// There is no target here.
    None,
    /// The text ends before it is clear.
    Unfinished,
    /// A complete target with this address.
    Found {
        /// The address without brackets and title.
        address: &'a str,
        /// Bytes up to the end of the target.
        bytes: usize,
    },
}

/// Parses the target of a link; `text` begins behind its parenthesis (CommonMark 0.31, section 6.3).
pub(super) fn parse_link_target(text: &str) -> LinkTarget<'_> {
    let Some(start) = find_text_start(text) else {
        return unfinished_or_none(text);
    };
    let (address, after) = match text[start..].strip_prefix('<') {
        Some(inside) => match inside.find(['>', '\n']) {
            Some(end) if inside[end..].starts_with('>') => (&inside[..end], start + end + 2),
            Some(_) => return LinkTarget::None,
            None => return LinkTarget::Unfinished,
        },
        None => match end_of_token(&text[start..]) {
            Some(end) => (&text[start..start + end], start + end),
            None => return LinkTarget::Unfinished,
        },
    };
    let Some(next) = find_text_start(&text[after..]).map(|gap| after + gap) else {
        return unfinished_or_none(&text[after..]);
    };
    let close = match text[next..].chars().next() {
        Some(')') => Some(0),
        Some(quote @ ('"' | '\'' | '(')) if next > after => match end_of_title(&text[next + 1..], quote) {
            Some(end) => Some(end + 1),
            None => return LinkTarget::Unfinished,
        },
        _ => None,
    };
    let Some(close) = close.map(|close| next + close) else {
        return LinkTarget::None;
    };
    let Some(last) = find_text_start(&text[close..]).map(|gap| close + gap) else {
        return unfinished_or_none(&text[close..]);
    };
    match text[last..].starts_with(')') {
        true => LinkTarget::Found {
            address,
            bytes: last + 1,
        },
        false => LinkTarget::None,
    }
}

/// Parses the target of a definition (`[name]: target`); `text` begins behind its colon.
pub(super) fn parse_definition_target(text: &str, ended: bool) -> LinkTarget<'_> {
    let Some(start) = find_text_start(text) else {
        return unfinished_or_none(text);
    };
    let end = text[start..].find(char::is_whitespace);
    match end.or(ended.then_some(text.len() - start)) {
        Some(end) => LinkTarget::Found {
            address: text[start..start + end].trim_matches(['<', '>']),
            bytes: start + end,
        },
        None => LinkTarget::Unfinished,
    }
}

/// Whether a target cannot lead out of its own page.
pub(super) fn is_harmless(address: &str) -> bool {
    !address.contains(|c| LEADS.contains(c))
}

/// Position of the first character behind white space; `None` if there is none yet, or an empty line comes before it.
fn find_text_start(text: &str) -> Option<usize> {
    let at = text.len() - text.trim_start().len();
    (at < text.len() && text[..at].matches('\n').count() < 2).then_some(at)
}

fn unfinished_or_none(text: &str) -> LinkTarget<'static> {
    let gap = &text[..text.len() - text.trim_start().len()];
    match gap.matches('\n').count() < 2 {
        true => LinkTarget::Unfinished,
        false => LinkTarget::None,
    }
}

/// The end of a target without white space and with balanced parentheses; `None` if the text ends first.
fn end_of_token(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            c if c.is_whitespace() => return Some(at),
            _ => {}
        }
    }
    None
}

/// The position behind the mark that closes a title.
fn end_of_title(text: &str, open: char) -> Option<usize> {
    let close = if open == '(' { ')' } else { open };
    text.find(close).map(|at| at + 1)
}

/// The end of an address in plain text; `None` if the text ends first.
pub(super) fn end_of_address(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            '<' | '>' | '"' | '`' | '[' | ']' | '{' | '}' | '|' | '\\' | '^' | '”' | '»' | '。' | '，' => {
                return Some(at);
            }
            c if c.is_whitespace() || c.is_control() => return Some(at),
            _ => {}
        }
    }
    None
}

/// An address without the punctuation of the surrounding sentence at its end.
pub(super) fn trim_punctuation(address: &str) -> &str {
    address.trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_', '~', '\''])
}

/// The host of an address, in lower case and without `www.`; `None` unless it has a dot and only ASCII letters, digits,
/// dots and hyphens.
pub(super) fn parse_host(address: &str) -> Option<String> {
    let after = address.split_once("://").map_or(address, |(_, after)| after);
    let authority = after.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.split(':').next()?.to_ascii_lowercase();
    let host = host.strip_prefix("www.").unwrap_or(&host);
    let plain = host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    (plain && host.contains('.')).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_links_are_read() {
        let found = |address: &'static str, bytes| LinkTarget::Found { address, bytes };
        for (text, expected) in [
            ("https://a.example/x) and", found("https://a.example/x", 20)),
            ("<a b> ) and", found("a b", 7)),
            (" x \"title\" ) and", found("x", 12)),
            ("a(b)c) and", found("a(b)c", 6)),
            (") and", found("", 1)),
            ("x\n(title))", found("x", 10)),
            ("see the rest", LinkTarget::None),
            ("x\n\n)", LinkTarget::None),
            ("<a\nb>)", LinkTarget::None),
            ("https://a.exam", LinkTarget::Unfinished),
            ("x \"tit", LinkTarget::Unfinished),
            ("x ", LinkTarget::Unfinished),
            ("", LinkTarget::Unfinished),
        ] {
            assert_eq!(parse_link_target(text), expected, "{text:?}");
        }
    }

    #[test]
    fn hosts_are_told() {
        for (address, expected) in [
            ("https://A.example:80/x", Some("a.example")),
            ("https://a.example@evil.example/", Some("evil.example")),
            ("www.evil.example/x", Some("evil.example")),
            ("http://localhost/x", None),
            ("http://a%2eb.example", None),
        ] {
            assert_eq!(parse_host(address).as_deref(), expected, "{address}");
        }
    }
}
