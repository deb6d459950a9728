//! Parses the citation markers that models write: `[1]`, `[1, 2]`, `[2-4]`, `[^1]`, `【1】`, `【1†source】`,
//! `[source 1]`, `[Source: 1]`, `(source 1)`. A number alone in round brackets is text, not a marker.

use std::ops::RangeInclusive;

/// Longest marker, in characters; anything longer is text.
const MAX_CHARACTERS: usize = 32;

/// Most digits of a number: `[2024]` is a year, not a passage.
const MAX_DIGITS: usize = 3;

/// Words that may stand before a number between any brackets, in lower case.
const WORDS: [&str; 7] = ["source", "sources", "passage", "passages", "quelle", "quellen", "来源"];

/// Words that may stand before a number in square brackets only: in round ones they are prose.
const SQUARE_WORDS: [&str; 12] = [
    "src",
    "ref",
    "refs",
    "reference",
    "references",
    "citation",
    "citations",
    "cite",
    "doc",
    "document",
    "documents",
    "and",
];

/// Characters that may stand between numbers.
const SEPARATORS: [char; 5] = [',', ';', ' ', '，', '、'];

/// In OpenAI's markers (`【1†source】`), separates the number from the name of what it points to.
const POINTER: char = '†';

/// The bracket that closes a marker opened by `open`; `None` if `open` opens none.
fn closing_bracket(open: char) -> Option<char> {
    Some(match open {
        '[' => ']',
        '【' => '】',
        '［' => '］',
        '(' => ')',
        '（' => '）',
        _ => return None,
    })
}

fn is_round(open: char) -> bool {
    matches!(open, '(' | '（')
}

/// Whether a marker may begin with `c`.
pub(super) fn is_opening_bracket(c: char) -> bool {
    closing_bracket(c).is_some()
}

/// Whether `c` closes `marker`, which has been opened.
pub(super) fn closes_marker(marker: &str, c: char) -> bool {
    marker.chars().next().and_then(closing_bracket) == Some(c)
}

/// Whether `marker` (from its opening bracket on) followed by `next` may still become a marker.
pub(super) fn may_continue_marker(marker: &str, next: char) -> bool {
    let Some(open) = marker.chars().next() else {
        return false;
    };
    let inside = &marker[open.len_utf8()..];
    if marker.chars().count() >= MAX_CHARACTERS || next == '\n' {
        return false;
    }
    if inside.contains(POINTER) {
        return !is_opening_bracket(next);
    }
    let has_word = inside.contains(char::is_alphabetic);
    match next {
        '0'..='9' | '#' => !is_round(open) || has_word,
        '-' | '–' => true,
        c if SEPARATORS.contains(&c) => true,
        '^' => inside.is_empty() && !is_round(open),
        ':' | '：' | '.' => inside.ends_with(char::is_alphabetic),
        POINTER => open == '【' && inside.ends_with(|c: char| c.is_ascii_digit()),
        c if c.is_alphabetic() => begins_word(open, inside, c),
        _ => false,
    }
}

/// Whether the letters at the end of `inside`, followed by `next`, are a prefix of an allowed word.
fn begins_word(open: char, inside: &str, next: char) -> bool {
    let letters = inside.len() - inside.trim_end_matches(char::is_alphabetic).len();
    let begun: String = inside[inside.len() - letters..].chars().chain([next]).collect();
    marker_words(open).any(|word| word.starts_with(&begun.to_lowercase()))
}

fn marker_words(open: char) -> impl Iterator<Item = &'static str> {
    let common: &'static [&'static str] = &WORDS;
    let more: &'static [&'static str] = if is_round(open) { &[] } else { &SQUARE_WORDS };
    common.iter().chain(more).copied()
}

/// The numbers of a complete marker, in order; `None` if it is not a marker.
pub(super) fn parse_marker_numbers(marker: &str) -> Option<Vec<usize>> {
    let open = marker.chars().next()?;
    let inside = marker.strip_prefix(open)?.strip_suffix(closing_bracket(open)?)?;
    let inside = inside.strip_prefix('^').unwrap_or(inside);
    let inside = match open {
        '【' => inside.split(POINTER).next().unwrap_or(inside),
        _ => inside,
    };
    let (mut numbers, mut has_word) = (Vec::new(), false);
    for part in inside.split(SEPARATORS).filter(|part| !part.is_empty()) {
        let letters = part.find(|c: char| !c.is_alphabetic()).unwrap_or(part.len());
        let (word, rest) = part.split_at(letters);
        if !word.is_empty() && !marker_words(open).any(|known| known == word.to_lowercase()) {
            return None;
        }
        has_word |= !word.is_empty();
        let rest = match word.is_empty() {
            true => rest.trim_start_matches('#'),
            false => rest.trim_start_matches([':', '：', '.', '#']),
        };
        if !rest.is_empty() || word.is_empty() {
            numbers.extend(parse_number_range(rest)?);
        }
    }
    let is_marker = !numbers.is_empty() && (has_word || !is_round(open));
    is_marker.then_some(numbers)
}

/// Whether `marker` is a marker whatever its numbers are. The other forms are text if their numbers name no passage.
pub(super) fn is_unambiguous(marker: &str) -> bool {
    marker.starts_with('[') && !marker.contains(char::is_alphabetic)
}

fn parse_number_range(part: &str) -> Option<RangeInclusive<usize>> {
    let number = |text: &str| text.parse().ok().filter(|_| text.len() <= MAX_DIGITS);
    match part.split_once(['-', '–']) {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(part).map(|number| number..=number),
    }
}

/// Whether a bracket directly behind the word that ends `text` may be a marker: prose may omit the space (`days[1]`),
/// and code does not index ordinary words. A name of one or two letters, or with other signs in it, is code.
pub(super) fn bracket_context_after(text: &str) -> BracketContext {
    let word = text.rsplit(char::is_whitespace).next().unwrap_or(text);
    match word.chars().next_back() {
        None => BracketContext::Free,
        Some(last) if !(last.is_alphanumeric() || matches!(last, '_' | ')' | ']')) => BracketContext::Free,
        Some(_) if word.chars().any(crate::cite::is_unspaced) => BracketContext::Free,
        Some(_) if is_plain_word(word) => BracketContext::AfterWord,
        Some(_) => BracketContext::AfterCode,
    }
}

/// What stands directly before a bracket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BracketContext {
    /// A space, punctuation or nothing: the bracket may open a marker.
    Free,
    /// A word: the bracket is a marker only if the character behind it fits too.
    AfterWord,
    /// Text that looks like code: the bracket is never a marker.
    AfterCode,
}

fn is_plain_word(word: &str) -> bool {
    let letters = word.trim_start_matches(['"', '“', '(', '*', '\'']);
    let number = letters.chars().all(|c| c.is_numeric() || matches!(c, '.' | ','));
    number
        || (letters.chars().count() >= 3
            && letters
                .chars()
                .all(|c| c.is_alphabetic() || matches!(c, '-' | '\'' | '’')))
}

/// Whether `next` may stand behind a marker that directly follows a word.
pub(super) fn may_follow_marker(next: char) -> bool {
    next.is_whitespace() || matches!(next, '.' | ',' | ';' | ':' | '!' | '?' | '[' | ')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read() {
        let check = |marker: &str, expected: Option<&[usize]>| {
            assert_eq!(parse_marker_numbers(marker).as_deref(), expected, "{marker}")
        };
        check("[1]", Some(&[1]));
        check("[1, 12;3]", Some(&[1, 12, 3]));
        check("[2-4]", Some(&[2, 3, 4]));
        check("[^1]", Some(&[1]));
        check("【1】", Some(&[1]));
        check("【2†source】", Some(&[2]));
        check("【2†L3-L5】", Some(&[2]));
        check("［1］", Some(&[1]));
        check("[source 1]", Some(&[1]));
        check("[Source: 1]", Some(&[1]));
        check("[Sources 1, 2]", Some(&[1, 2]));
        check("[source 1, source 3]", Some(&[1, 3]));
        check("[1 and 2]", Some(&[1, 2]));
        check("[Ref. 2]", Some(&[2]));
        check("[Doc#2]", Some(&[2]));
        check("[#2]", Some(&[2]));
        check("[来源 1]", Some(&[1]));
        check("(source 1)", Some(&[1]));
        check("（来源：1，2）", Some(&[1, 2]));
        check("（来源1）", Some(&[1]));
        for text in [
            "(1)",
            "(1, 2)",
            "(document 1)",
            "[1.5]",
            "[source]",
            "[see 1]",
            "【4:0†source】",
            "(source)",
            "[1)",
        ] {
            check(text, None);
        }
        for text in ["[]", "[ ]", "[2024]", "[-1]", "[1-]", "[3-1]", "[^]", "[-]"] {
            check(text, None);
        }
    }

    #[test]
    fn what_becomes_no_marker_is_let_go_at_once() {
        let held = |text: &str| {
            let mut marker = String::new();
            for c in text.chars() {
                let grows = if marker.is_empty() {
                    is_opening_bracket(c)
                } else {
                    may_continue_marker(&marker, c) || closes_marker(&marker, c)
                };
                if !grows {
                    break;
                }
                marker.push(c);
            }
            marker
        };
        let check = |text: &str, expected: &str| assert_eq!(held(text), expected, "{text}");
        for marker in [
            "[1]",
            "[^1]",
            "[Source: 1, 2]",
            "【1†source】",
            "(sources 1 2)",
            "[source 1, source 2]",
        ] {
            check(marker, marker);
        }
        check("[see below]", "[s");
        check("(see below)", "(s");
        check("(12 days)", "(");
        check("[x]", "[");
        check("[sourced]", "[source");
    }

    #[test]
    fn prose_may_be_glued_and_code_not() {
        for (text, expected) in [
            ("", BracketContext::Free),
            ("days.", BracketContext::Free),
            ("天", BracketContext::Free),
            ("thirty days", BracketContext::AfterWord),
            ("it is 30", BracketContext::AfterWord),
            ("a", BracketContext::AfterCode),
            ("self.items", BracketContext::AfterCode),
            ("f(x)", BracketContext::AfterCode),
            ("item_list", BracketContext::AfterCode),
            ("x[0]", BracketContext::AfterCode),
        ] {
            assert_eq!(bracket_context_after(text), expected, "{text}");
        }
    }
}
