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

use super::target::{self, Target};

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
pub(super) struct Links {
    allowed: HashSet<String>,
    texts: Vec<Arc<str>>,
    held: String,
    /// The character before what is held.
    last: Option<char>,
    /// For each open bracket, whether an image's.
    brackets: Vec<bool>,
    fence: Fence,
    removed: usize,
}

/// What becomes of the beginning of what is held.
enum Next {
    /// It may be something: more has to come.
    Wait,
    /// One character of text.
    Plain,
    /// So many bytes are replaced.
    Replace(usize, String),
}

/// Whether the text is in a block of code, which begins and ends with three backticks at the begin of a line.
#[derive(Debug, Default)]
struct Fence {
    inside: bool,
    /// Backticks since the line's begin; none once something else stood there.
    backticks: Option<usize>,
}

impl Fence {
    fn see(&mut self, c: char, line_begins: bool) {
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

impl Links {
    /// For an answer that may link to these addresses, from passages with these texts.
    pub fn new(allowed: impl IntoIterator<Item = String>, texts: Vec<Arc<str>>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
            texts,
            ..Self::default()
        }
    }

    /// More of the model's text; what may go on.
    pub fn text<'a>(&mut self, piece: &'a str) -> Cow<'a, str> {
        match self.held.is_empty() {
            true => self.pass(Cow::Borrowed(piece), false),
            false => {
                let held = std::mem::take(&mut self.held) + piece;
                self.pass(Cow::Owned(held), false)
            }
        }
    }

    /// The rest of what was held back: nothing follows, or nothing that belongs to it.
    pub fn end(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        self.pass(Cow::Owned(held), true).into_owned()
    }

    /// How many targets and addresses were taken out.
    pub fn removed(&self) -> usize {
        self.removed
    }

    /// What may go on of a text; the rest is held. A text in which nothing is replaced is not copied.
    fn pass<'a>(&mut self, text: Cow<'a, str>, ended: bool) -> Cow<'a, str> {
        let (mut changed, mut at) = (None::<String>, 0);
        while let Some(c) = text[at..].chars().next() {
            let taken = match self.look(c, &text[at..], ended) {
                Next::Wait => break,
                Next::Plain => {
                    changed.as_mut().into_iter().for_each(|out| out.push(c));
                    c.len_utf8()
                }
                Next::Replace(bytes, instead) => {
                    changed.get_or_insert_with(|| text[..at].to_owned()).push_str(&instead);
                    bytes
                }
            };
            self.passed(&text[at..at + taken]);
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

    fn passed(&mut self, taken: &str) {
        for c in taken.chars() {
            match c {
                '[' if self.brackets.len() < MAX_BRACKETS => self.brackets.push(self.last == Some('!')),
                '\n' if self.last == Some('\n') => self.brackets.clear(),
                _ => {}
            }
            self.fence.see(c, self.last.is_none_or(|last| last == '\n'));
            self.last = Some(c);
        }
        if taken.starts_with(']') {
            self.brackets.pop();
        }
    }

    fn look(&mut self, c: char, rest: &str, ended: bool) -> Next {
        match c {
            '!' => bang(rest, ended),
            ']' => self.bracket(rest, ended),
            '<' => element(rest, ended),
            'h' | 'H' | 'f' | 'F' | 'w' | 'W' => self.address(rest, ended),
            _ => Next::Plain,
        }
    }

    /// A closing bracket, with the target or the definition that may follow it.
    fn bracket(&mut self, rest: &str, ended: bool) -> Next {
        let image = self.brackets.last().copied().unwrap_or(false) || self.brackets.len() == MAX_BRACKETS;
        let found = match rest[1..].chars().next() {
            None if ended => return Next::Plain,
            None => return Next::Wait,
            Some('(') => target::of_link(window(&rest[2..])),
            Some(':') => target::of_definition(window(&rest[2..]), ended),
            Some(_) => return Next::Plain,
        };
        let full = ended || rest.len() - 2 >= MAX_HELD;
        match found {
            Target::None => Next::Plain,
            Target::Unfinished if !full => Next::Wait,
            Target::Unfinished => match target::is_harmless(window(&rest[2..])) {
                true => Next::Plain,
                false => self.without(2 + window(&rest[2..]).len(), "]"),
            },
            Target::Found { address, .. } if target::is_harmless(address) => Next::Plain,
            Target::Found { address, bytes } if self.allows(address) && !image => {
                let open = &rest[1..2];
                let close = if open == "(" { ")" } else { "" };
                Next::Replace(2 + bytes, format!("]{open}{address}{close}"))
            }
            Target::Found { bytes, .. } => self.without(2 + bytes, "]"),
        }
    }

    fn without(&mut self, bytes: usize, instead: &str) -> Next {
        self.removed += 1;
        Next::Replace(bytes, instead.to_owned())
    }

    /// An address in plain text.
    fn address(&mut self, rest: &str, ended: bool) -> Next {
        let inside_word = self.last.is_some_and(char::is_alphanumeric);
        let begins = SCHEMES.iter().chain((!inside_word).then_some(&WWW));
        let mut may_come = false;
        for begin in begins {
            match starts(rest, begin) {
                Some(true) => return self.whole_address(rest, ended),
                Some(false) => {}
                None => may_come = true,
            }
        }
        match may_come && !ended {
            true => Next::Wait,
            false => Next::Plain,
        }
    }

    fn whole_address(&mut self, rest: &str, ended: bool) -> Next {
        let seen = window(rest);
        let Some(end) = target::end_of_address(seen) else {
            return match ended || rest.len() >= MAX_HELD {
                false => Next::Wait,
                true if seen.len() < rest.len() => self.without(seen.len(), REMOVED),
                true => self.judge(target::trimmed(seen)),
            };
        };
        self.judge(target::trimmed(&seen[..end]))
    }

    fn judge(&mut self, address: &str) -> Next {
        let in_code = self.fence.inside && self.texts.iter().any(|text| text.contains(address));
        if self.allows(address) || in_code {
            return Next::Replace(address.len(), address.to_owned());
        }
        let host = target::host(address).filter(|host| self.is_named(host));
        self.without(address.len(), host.as_deref().unwrap_or(REMOVED))
    }

    /// Whether the passages speak of a host themselves.
    fn is_named(&self, host: &str) -> bool {
        self.texts.iter().any(|text| text.to_ascii_lowercase().contains(host))
    }

    fn allows(&self, address: &str) -> bool {
        let document = address.split('#').next().unwrap_or(address);
        self.allowed.contains(address) || self.allowed.contains(document)
    }
}

/// The part that is looked at.
fn window(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_HELD)]
}

/// Whether a text begins so, whatever its case; none if it is too short to tell.
fn starts(text: &str, begin: &str) -> Option<bool> {
    let length = text.len().min(begin.len());
    match text.as_bytes()[..length].eq_ignore_ascii_case(&begin.as_bytes()[..length]) {
        false => Some(false),
        true => (length == begin.len()).then_some(true),
    }
}

/// The mark that makes an image of a link goes, unless a citation stands behind an exclamation.
fn bang(rest: &str, ended: bool) -> Next {
    let mut after = rest[1..].chars();
    match (after.next(), after.next()) {
        (Some('['), Some(c)) if !(c.is_ascii_digit() || c == '^') => Next::Replace(1, String::new()),
        (None, _) | (Some('['), None) if !ended => Next::Wait,
        _ => Next::Plain,
    }
}

/// A bracket that would open an element is set apart from its name, if the element loads, leads or styles.
fn element(rest: &str, ended: bool) -> Next {
    let name = rest[1..].trim_start_matches('/');
    let length = name
        .char_indices()
        .find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')))
        .map(|(at, _)| at);
    let apart = || Next::Replace(1, "< ".to_owned());
    match length {
        None if name.len() > MAX_NAME => Next::Plain,
        None if !ended => Next::Wait,
        None => Next::Plain,
        Some(0) => Next::Plain,
        Some(length) => {
            let (name, after) = (name[..length].to_ascii_lowercase(), &name[length..]);
            let bare = after.starts_with('>');
            let is_tag = bare || after.starts_with(|c: char| c.is_whitespace() || c == '/');
            let scheme = after.starts_with(':') && !matches!(name.as_str(), "http" | "https" | "ftp");
            match is_tag && (!bare || ACTIVE.contains(&name.as_str())) || scheme {
                true => apart(),
                false => Next::Plain,
            }
        }
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
