//! What a model's text may link to: the documents it was shown, and nothing else. Pure, piece by piece.
//!
//! Targets of other links and of all images go, their words stay; an address in plain text shrinks to its host where
//! the passages name that host, and goes where they do not, since a name could be a message too. What would be an HTML
//! element that loads or styles something is spelled apart. Plain text is not touched, nor is it held back beyond the
//! word that may begin an address.
//!
//! Invariant: however the text is cut into pieces, the same comes out. No target comes out that is not the address of
//! a shown document, with at most a fragment behind it, which stays with the reader.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::target::{self, LinkTarget};

/// Longest stretch, in bytes, that is held back until it shows what it is; a longer target or address goes unread.
const MAX_HELD: usize = 2_048;
/// Most brackets open at once; the kinds of further ones are not told apart.
const MAX_BRACKETS: usize = 64;
/// Longest name of an element or scheme that is looked at.
const MAX_NAME: usize = 32;
/// What stands where an address stood.
pub(super) const REMOVED: &str = "(link removed)";
/// What begins an address that readers of Markdown make a link of by themselves.
const SCHEMES: [&str; 3] = ["https://", "http://", "ftp://"];
/// The same without a scheme.
const WWW: &str = "www.";
/// Elements that load, lead or style, whether or not they have attributes.
const ACTIVE: [&str; 20] = [
    "a", "audio", "base", "button", "embed", "form", "frame", "iframe", "image", "img", "input", "link", "meta",
    "object", "picture", "script", "source", "style", "svg", "video",
];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LinkFilter {
    allowed: HashSet<String>,
    texts: Vec<Arc<str>>,
    held: String,
    /// The character before what is held.
    last: Option<char>,
    /// For each open bracket, whether an image's.
    brackets: Vec<bool>,
    fence: FenceTracker,
    removed: usize,
}

/// What becomes of the beginning of what is held.
enum ScanAction {
    /// It may be something: more has to come.
    Wait,
    /// One character of text.
    Plain,
    /// So many bytes are replaced.
    Replace(usize, String),
}

/// Whether the text is in a block of code, which begins and ends with three backticks at the begin of a line.
#[derive(Debug, Default)]
struct FenceTracker {
    inside: bool,
    /// Backticks since the line's begin; none once something else stood there.
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
    /// For an answer that may link to these addresses, from passages with these texts.
    pub fn new(allowed: impl IntoIterator<Item = String>, texts: Vec<Arc<str>>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
            texts,
            ..Self::default()
        }
    }

    /// More of the model's text; what may go on.
    pub fn filter_text<'a>(&mut self, piece: &'a str) -> Cow<'a, str> {
        match self.held.is_empty() {
            true => self.scan_text(Cow::Borrowed(piece), false),
            false => {
                let held = std::mem::take(&mut self.held) + piece;
                self.scan_text(Cow::Owned(held), false)
            }
        }
    }

    /// The rest of what was held back: nothing follows, or nothing that belongs to it.
    pub fn flush_held(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        self.scan_text(Cow::Owned(held), true).into_owned()
    }

    /// How many targets and addresses were taken out.
    pub fn removed_count(&self) -> usize {
        self.removed
    }

    /// What may go on of a text; the rest is held. A text in which nothing is replaced is not copied.
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

    /// A closing bracket, with the target or the definition that may follow it.
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

    /// An address in plain text.
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

    /// Whether the passages speak of a host themselves.
    fn is_host_named(&self, host: &str) -> bool {
        self.texts.iter().any(|text| text.to_ascii_lowercase().contains(host))
    }

    fn is_allowed(&self, address: &str) -> bool {
        let document = address.split('#').next().unwrap_or(address);
        self.allowed.contains(address) || self.allowed.contains(document)
    }
}

/// The part that is looked at.
fn inspection_window(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_HELD)]
}

/// Whether a text begins so, whatever its case; none if it is too short to tell.
fn starts_with_ignore_case(text: &str, begin: &str) -> Option<bool> {
    let length = text.len().min(begin.len());
    match text.as_bytes()[..length].eq_ignore_ascii_case(&begin.as_bytes()[..length]) {
        false => Some(false),
        true => (length == begin.len()).then_some(true),
    }
}

/// The mark that makes an image of a link goes, unless a citation stands behind an exclamation.
fn inspect_exclamation(rest: &str, ended: bool) -> ScanAction {
    let mut after = rest[1..].chars();
    match (after.next(), after.next()) {
        (Some('['), Some(c)) if !(c.is_ascii_digit() || c == '^') => ScanAction::Replace(1, String::new()),
        (None, _) | (Some('['), None) if !ended => ScanAction::Wait,
        _ => ScanAction::Plain,
    }
}

/// A bracket that would open an element is set apart from its name, if the element loads, leads or styles.
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
