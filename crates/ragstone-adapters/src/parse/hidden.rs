//! Text that no person sees on the page but a model would read: counted by kind and reported in warnings.
//!
//! Text that is certainly invisible is left out; text that may be visible is kept. In both cases a warning of the
//! document says so, with the pages. Text under a scan (render mode 3) does not count as hidden, because the scan shows
//! its words.
//!
//! Invariant: text that is left out is counted, so that no text disappears without a warning.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ragstone_core::document::ParseWarning;

/// Shortest run of zero-width characters that counts as a message and not as joiners: the longest joiner run of an
/// emoji has two.
const MESSAGE_RUN: usize = 3;
/// Most pages that one warning lists.
const MAX_PAGES: usize = 1_000;
/// The three flags that Unicode recommends to write with tag characters (UTS 51, `emoji-sequences.txt`).
const TAG_FLAGS: [&str; 3] = ["gbeng", "gbsct", "gbwls"];
/// First character of these flags.
const BLACK_FLAG: char = '\u{1f3f4}';
/// Last character of these flags.
const END_OF_FLAG: char = '\u{e007f}';

/// How text was hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HiddenTextKind {
    /// In the same colour as its background.
    SameColour,
    /// Too small to be seen.
    Tiny,
    /// Outside of the page.
    OffPage,
    /// In an element that is not displayed.
    Element,
    /// In characters of the tag block, which mirror ASCII.
    Tags,
    /// In runs of zero-width characters, or in such characters within a word.
    ZeroWidth,
    /// In characters that override the direction of the text after them.
    Override,
    /// White, over an unknown background.
    PerhapsSameColour,
    /// In an element that may be shown later.
    PerhapsElement,
}

impl HiddenTextKind {
    fn describe(self) -> &'static str {
        match self {
            HiddenTextKind::SameColour => "in the colour of its background",
            HiddenTextKind::Tiny => "smaller than a point",
            HiddenTextKind::OffPage => "outside of the page",
            HiddenTextKind::Element => "in elements that are not shown",
            HiddenTextKind::Tags => "in tag characters",
            HiddenTextKind::ZeroWidth => "in characters without width",
            HiddenTextKind::Override => "that turn the direction of reading",
            HiddenTextKind::PerhapsSameColour => "white, over what cannot be told",
            HiddenTextKind::PerhapsElement => "in elements that are transparent at first",
        }
    }

    fn is_kept(self) -> bool {
        matches!(self, HiddenTextKind::PerhapsSameColour | HiddenTextKind::PerhapsElement)
    }
}

/// Counts of the hidden text found so far in a document.
#[derive(Debug, Default)]
pub(super) struct HiddenTextReport {
    characters: BTreeMap<HiddenTextKind, usize>,
    pages: BTreeMap<bool, BTreeSet<u32>>,
}

impl HiddenTextReport {
    /// Counts the characters of a text, without white space.
    pub(super) fn count_text(&mut self, kind: HiddenTextKind, page: Option<u32>, text: &str) {
        self.count_characters(kind, page, text.chars().filter(|c| !c.is_whitespace()).count());
    }

    /// Counts characters whose text is not available.
    pub(super) fn count_characters(&mut self, kind: HiddenTextKind, page: Option<u32>, count: usize) {
        if count > 0 {
            *self.characters.entry(kind).or_default() += count;
            self.pages.entry(kind.is_kept()).or_default().extend(page);
        }
    }

    /// The warnings for the document: one for text that was left out, one for text that was kept.
    pub(super) fn build_warnings(&self) -> Vec<ParseWarning> {
        [
            ("hidden_text", "left out", false),
            ("perhaps_hidden_text", "kept", true),
        ]
        .into_iter()
        .filter_map(|(code, fate, kept)| self.build_warning(code, fate, kept))
        .collect()
    }

    fn build_warning(&self, code: &str, fate: &str, kept: bool) -> Option<ParseWarning> {
        let kinds: Vec<String> = self
            .characters
            .iter()
            .filter(|(kind, _)| kind.is_kept() == kept)
            .map(|(kind, count)| format!("{count} characters {}", kind.describe()))
            .collect();
        (!kinds.is_empty()).then(|| ParseWarning {
            code: code.to_owned(),
            detail: format!("text that nobody sees was {fate}: {}", kinds.join(", ")),
            pages: self
                .pages
                .get(&kept)
                .into_iter()
                .flatten()
                .copied()
                .take(MAX_PAGES)
                .collect(),
        })
    }

    /// Returns `raw` without invisible characters that could carry hidden text.
    pub(super) fn strip_hidden_characters<'a>(&mut self, raw: &'a str, page: Option<u32>) -> Cow<'a, str> {
        if raw.is_ascii() || !raw.chars().any(|c| classify_character(c).is_some()) {
            return Cow::Borrowed(raw);
        }
        let mut out = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(c) = rest.chars().next() {
            let Some(kind) = classify_character(c) else {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            };
            let run = rest.len() - rest.trim_start_matches(|c| classify_character(c) == Some(kind)).len();
            let (run, after) = rest.split_at(run);
            match has_proper_use(kind, run, &out, after) {
                true => out.push_str(run),
                false => self.count_characters(kind, page, run.chars().count()),
            }
            rest = after;
        }
        Cow::Owned(out)
    }
}

/// The kind of hidden text that an invisible character could carry; `None` for any other character.
fn classify_character(c: char) -> Option<HiddenTextKind> {
    match c {
        '\u{e0000}'..='\u{e007f}' => Some(HiddenTextKind::Tags),
        '\u{202d}' | '\u{202e}' => Some(HiddenTextKind::Override),
        '\u{180e}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2064}'
        | '\u{feff}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0100}'..='\u{e01ef}' => Some(HiddenTextKind::ZeroWidth),
        _ => None,
    }
}

/// Whether a run of such characters is legitimate between `before` and `after`.
fn has_proper_use(kind: HiddenTextKind, run: &str, before: &str, after: &str) -> bool {
    match kind {
        HiddenTextKind::Tags => before.ends_with(BLACK_FLAG) && is_flag(run),
        HiddenTextKind::ZeroWidth => {
            let inside_word = before.ends_with(|c: char| c.is_ascii_alphanumeric())
                && after.starts_with(|c: char| c.is_ascii_alphanumeric());
            run.chars().count() < MESSAGE_RUN && !(inside_word && has_joiner(run))
        }
        _ => false,
    }
}

fn is_flag(run: &str) -> bool {
    let Some(name) = run.strip_suffix(END_OF_FLAG) else {
        return false;
    };
    let ascii: Option<String> = name.chars().map(|c| char::from_u32(u32::from(c) - 0xe0000)).collect();
    ascii.is_some_and(|ascii| TAG_FLAGS.contains(&ascii.as_str()))
}

/// Whether a run contains joiners: they shape the letters of some scripts and emoji, but only split Latin words.
fn has_joiner(run: &str) -> bool {
    run.contains(['\u{200c}', '\u{200d}', '\u{2061}', '\u{2062}', '\u{2063}', '\u{2064}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> String {
        text.chars()
            .map(|c| char::from_u32(0xe0000 + u32::from(c)).unwrap())
            .collect()
    }

    #[test]
    fn characters_that_carry_words_go_and_their_proper_uses_stay() {
        let check = |raw: &str, expected: &str, left_out: usize| {
            let mut hidden = HiddenTextReport::default();
            assert_eq!(hidden.strip_hidden_characters(raw, None), expected, "{raw:?}");
            assert_eq!(hidden.characters.values().sum::<usize>(), left_out, "{raw:?}");
        };
        check("plain text", "plain text", 0);
        check("naïve – 中文", "naïve – 中文", 0);
        check(&format!("a{}b", tags("ignore")), "ab", 6);
        check(
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            0,
        );
        check(&format!("\u{1f3f4}{}\u{e007f}", tags("obey")), "\u{1f3f4}", 5);
        check("one\u{200b}\u{200c}\u{200d}\u{200b}two", "onetwo", 4);
        check("ig\u{200d}nore", "ignore", 1);
        check("می\u{200c}خواهم", "می\u{200c}خواهم", 0);
        check("👩\u{200d}❤\u{fe0f}\u{200d}👨", "👩\u{200d}❤\u{fe0f}\u{200d}👨", 0);
        check("x\u{e0100}\u{e0101}\u{e0102}\u{e0103}", "x", 4);
        check("abc\u{202e}fed\u{202c}", "abcfed\u{202c}", 1);
    }

    #[test]
    fn warnings_name_the_kinds_and_the_pages() {
        let mut hidden = HiddenTextReport::default();
        assert_eq!(hidden.build_warnings(), []);
        hidden.count_text(HiddenTextKind::Tiny, Some(4), "a b");
        hidden.count_text(HiddenTextKind::SameColour, Some(2), "abc");
        hidden.count_text(HiddenTextKind::SameColour, Some(2), " ");
        hidden.count_text(HiddenTextKind::PerhapsSameColour, Some(9), "x");
        let warnings = hidden.build_warnings();
        assert_eq!(warnings[0].code, "hidden_text");
        assert_eq!(warnings[0].pages, [2, 4]);
        assert_eq!(
            warnings[0].detail,
            "text that nobody sees was left out: 3 characters in the colour of its background, 2 characters smaller than a point"
        );
        assert_eq!(
            (warnings[1].code.as_str(), warnings[1].pages.as_slice()),
            ("perhaps_hidden_text", &[9][..])
        );
    }
}
