//! Filters the links in a model's text, piece by piece: it may link only to the documents it was shown. Pure.
//!
//! Targets of other links and of all images are removed, and their words stay. An address in plain text is reduced to
//! its host if the passages name that host, and removed if not, since a host name could carry a message too. An HTML
//! element that loads or styles something is disabled by a space behind its `<`. Other text is not changed, and is
//! held back only for the word that may begin an address.
//!
//! Invariant: the output does not depend on how the text is cut into pieces. Every target in the output is the address
//! of a shown document, with at most a fragment behind it, which a browser does not send.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::target::{self, LinkTarget};

/// Most bytes held back until it is clear what they are; a longer target or address is removed unread.
const MAX_HELD: usize = 2_048;
/// Most open brackets that are tracked; at this depth every link counts as an image.
const MAX_BRACKETS: usize = 64;
/// Longest name of an element or scheme that is waited for, in bytes.
const MAX_NAME: usize = 32;
/// Replaces an address that was removed.
pub(super) const REMOVED: &str = "(link removed)";
/// Schemes of addresses that Markdown renderers turn into links by themselves.
const SCHEMES: [&str; 3] = ["https://", "http://", "ftp://"];
/// Start of an address without a scheme that they turn into a link too.
const WWW: &str = "www.";
/// Elements that load, link or style something, with or without attributes.
const ACTIVE: [&str; 20] = [
    "a", "audio", "base", "button", "embed", "form", "frame", "iframe", "image", "img", "input", "link", "meta",
    "object", "picture", "script", "source", "style", "svg", "video",
];

/// The filter of one answer, see the module.
#[derive(Debug, Default)]
pub(super) struct LinkFilter {
    allowed: HashSet<String>,
    texts: Vec<Arc<str>>,
    held: String,
    /// The character before `held`.
    last: Option<char>,
    /// For each open bracket, whether it belongs to an image.
    brackets: Vec<bool>,
    fence: FenceTracker,
    removed: usize,
}

/// What to do with the start of the text at hand.
enum ScanAction {
    /// It is undecided until more text arrives.
    Wait,
    /// The first character is plain text.
    Plain,
    /// This many bytes are replaced by the text.
    Replace(usize, String),
}

/// Tracks whether the text is in a code block, which begins and ends with three backticks at the start of a line.
#[derive(Debug, Default)]
struct FenceTracker {
    inside: bool,
    /// Backticks since the start of the line; `None` after any other character.
    backticks: Option<usize>,
}

impl FenceTracker {
    fn track_character(&mut self, c: char, line_begins: bool) {
        self.backticks = match (line_begins, c, self.backticks) {
            (true, '`', _) => Some(1),
            (false, '`', Some(2)) => {
                self.inside = !self.inside;
                None
            }
            (false, '`', Some(count)) => Some(count + 1),
            _ => None,
        };
    }
}

impl LinkFilter {
    /// A filter for an answer that may link to the `allowed` addresses; `texts` are those of the passages.
    pub fn new(allowed: impl IntoIterator<Item = String>, texts: Vec<Arc<str>>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
            texts,
            ..Self::default()
        }
    }

    /// Adds a piece of the model's text and returns the text that may be shown now.
    pub fn filter_text<'a>(&mut self, piece: &'a str) -> Cow<'a, str> {
        match self.held.is_empty() {
            true => self.scan_text(Cow::Borrowed(piece), false),
            false => {
                let held = std::mem::take(&mut self.held) + piece;
                self.scan_text(Cow::Owned(held), false)
            }
        }
    }

    /// Returns the rest of the held text. Call it when nothing follows, or nothing that belongs to it.
    pub fn flush_held(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        self.scan_text(Cow::Owned(held), true).into_owned()
    }

    /// How many targets and addresses were removed so far.
    pub fn removed_count(&self) -> usize {
        self.removed
    }

    /// The part of a text that may be shown; the rest is held. A text in which nothing is replaced is not copied.
    fn scan_text<'a>(&mut self, text: Cow<'a, str>, ended: bool) -> Cow<'a, str> {
        let (mut changed, mut at) = (None::<String>, 0);
        while let Some(c) = text[at..].chars().next() {
            let taken = match self.inspect_character(c, &text[at..], ended) {
                ScanAction::Wait => break,
                ScanAction::Plain => {
                    changed.as_mut().into_iter().for_each(|out| out.push(c));
                    c.len_utf8()
                }
                ScanAction::Replace(bytes, instead) => {
                    changed.get_or_insert_with(|| text[..at].to_owned()).push_str(&instead);
                    bytes
                }
            };
            self.track_consumed(&text[at..at + taken]);
            at += taken;
        }
        self.held.push_str(&text[at..]);
        match (changed, text) {
            (Some(out), _) => Cow::Owned(out),
            (None, Cow::Borrowed(text)) => Cow::Borrowed(&text[..at]),
            (None, Cow::Owned(mut text)) => {
                text.truncate(at);
                Cow::Owned(text)
            }
        }
    }

    fn track_consumed(&mut self, taken: &str) {
        for c in taken.chars() {
            match c {
                '[' if self.brackets.len() < MAX_BRACKETS => self.brackets.push(self.last == Some('!')),
                '\n' if self.last == Some('\n') => self.brackets.clear(),
                _ => {}
            }
            self.fence.track_character(c, self.last.is_none_or(|last| last == '\n'));
            self.last = Some(c);
        }
        if taken.starts_with(']') {
            self.brackets.pop();
        }
    }

    fn inspect_character(&mut self, c: char, rest: &str, ended: bool) -> ScanAction {
        match c {
            '!' => inspect_exclamation(rest, ended),
            ']' => self.inspect_bracket(rest, ended),
            '<' => inspect_element(rest, ended),
            'h' | 'H' | 'f' | 'F' | 'w' | 'W' => self.inspect_address(rest, ended),
            _ => ScanAction::Plain,
        }
    }

    /// Decides about a closing bracket with the target or the definition that may follow it.
    fn inspect_bracket(&mut self, rest: &str, ended: bool) -> ScanAction {
        let image = self.brackets.last().copied().unwrap_or(false) || self.brackets.len() == MAX_BRACKETS;
        let found = match rest[1..].chars().next() {
            None if ended => return ScanAction::Plain,
            None => return ScanAction::Wait,
            Some('(') => target::parse_link_target(inspection_window(&rest[2..])),
            Some(':') => target::parse_definition_target(inspection_window(&rest[2..]), ended),
            Some(_) => return ScanAction::Plain,
        };
        let full = ended || rest.len() - 2 >= MAX_HELD;
        match found {
            LinkTarget::None => ScanAction::Plain,
            LinkTarget::Unfinished if !full => ScanAction::Wait,
            LinkTarget::Unfinished => match target::is_harmless(inspection_window(&rest[2..])) {
                true => ScanAction::Plain,
                false => self.remove_link(2 + inspection_window(&rest[2..]).len(), "]"),
            },
            LinkTarget::Found { address, .. } if target::is_harmless(address) => ScanAction::Plain,
            LinkTarget::Found { address, bytes } if self.is_allowed(address) && !image => {
                let open = &rest[1..2];
                let close = if open == "(" { ")" } else { "" };
                ScanAction::Replace(2 + bytes, format!("]{open}{address}{close}"))
            }
            LinkTarget::Found { bytes, .. } => self.remove_link(2 + bytes, "]"),
        }
    }

    fn remove_link(&mut self, bytes: usize, instead: &str) -> ScanAction {
        self.removed += 1;
        ScanAction::Replace(bytes, instead.to_owned())
    }

    /// Decides whether an address begins here in plain text.
    fn inspect_address(&mut self, rest: &str, ended: bool) -> ScanAction {
        let inside_word = self.last.is_some_and(char::is_alphanumeric);
        let begins = SCHEMES.iter().chain((!inside_word).then_some(&WWW));
        let mut may_come = false;
        for begin in begins {
            match starts_with_ignore_case(rest, begin) {
                Some(true) => return self.inspect_whole_address(rest, ended),
                Some(false) => {}
                None => may_come = true,
            }
        }
        match may_come && !ended {
            true => ScanAction::Wait,
            false => ScanAction::Plain,
        }
    }

    fn inspect_whole_address(&mut self, rest: &str, ended: bool) -> ScanAction {
        let seen = inspection_window(rest);
        let Some(end) = target::end_of_address(seen) else {
            return match ended || rest.len() >= MAX_HELD {
                false => ScanAction::Wait,
                true if seen.len() < rest.len() => self.remove_link(seen.len(), REMOVED),
                true => self.decide_address(target::trim_punctuation(seen)),
            };
        };
        self.decide_address(target::trim_punctuation(&seen[..end]))
    }

    fn decide_address(&mut self, address: &str) -> ScanAction {
        let in_code = self.fence.inside && self.texts.iter().any(|text| text.contains(address));
        if self.is_allowed(address) || in_code {
            return ScanAction::Replace(address.len(), address.to_owned());
        }
        let host = target::parse_host(address).filter(|host| self.is_host_named(host));
        self.remove_link(address.len(), host.as_deref().unwrap_or(REMOVED))
    }

    /// Whether a passage contains the host itself.
    fn is_host_named(&self, host: &str) -> bool {
        self.texts.iter().any(|text| text.to_ascii_lowercase().contains(host))
    }

    fn is_allowed(&self, address: &str) -> bool {
        let document = address.split('#').next().unwrap_or(address);
        self.allowed.contains(address) || self.allowed.contains(document)
    }
}

/// The first [`MAX_HELD`] bytes of a text, which are all that is inspected.
fn inspection_window(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_HELD)]
}

/// Whether `text` starts with `begin`, ignoring ASCII case; `None` if it is too short to decide.
fn starts_with_ignore_case(text: &str, begin: &str) -> Option<bool> {
    let length = text.len().min(begin.len());
    match text.as_bytes()[..length].eq_ignore_ascii_case(&begin.as_bytes()[..length]) {
        false => Some(false),
        true => (length == begin.len()).then_some(true),
    }
}

/// Removes the `!` that makes an image of a link, unless a citation follows an exclamation.
fn inspect_exclamation(rest: &str, ended: bool) -> ScanAction {
    let mut after = rest[1..].chars();
    match (after.next(), after.next()) {
        (Some('['), Some(c)) if !(c.is_ascii_digit() || c == '^') => ScanAction::Replace(1, String::new()),
        (None, _) | (Some('['), None) if !ended => ScanAction::Wait,
        _ => ScanAction::Plain,
    }
}

/// Puts a space behind a `<` that would open an active element, one with attributes, or a link of another scheme.
fn inspect_element(rest: &str, ended: bool) -> ScanAction {
    let name = rest[1..].trim_start_matches('/');
    let length = name
        .char_indices()
        .find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')))
        .map(|(at, _)| at);
    let apart = || ScanAction::Replace(1, "< ".to_owned());
    match length {
        None if name.len() > MAX_NAME => ScanAction::Plain,
        None if !ended => ScanAction::Wait,
        None => ScanAction::Plain,
        Some(0) => ScanAction::Plain,
        Some(length) => {
            let (name, after) = (name[..length].to_ascii_lowercase(), &name[length..]);
            let bare = after.starts_with('>');
            let is_tag = bare || after.starts_with(|c: char| c.is_whitespace() || c == '/');
            let scheme = after.starts_with(':') && !matches!(name.as_str(), "http" | "https" | "ftp");
            match is_tag && (!bare || ACTIVE.contains(&name.as_str())) || scheme {
                true => apart(),
                false => ScanAction::Plain,
            }
        }
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
