//! The citation markers that a model writes: `[1]`, `[1, 2]`, `[2-4]`, `[^1]`.

use std::ops::RangeInclusive;

/// Longest marker, in characters; what is longer is text.
const MAX_CHARACTERS: usize = 32;

/// Most digits of a number: `[2024]` is a year, not a passage.
const MAX_DIGITS: usize = 3;

/// Whether `marker` (from its `[` on) with `next` behind it may still become one.
pub(super) fn may_grow(marker: &str, next: char) -> bool {
    let fits = next.is_ascii_digit()
        || matches!(next, ',' | ';' | ' ' | '-' | '–')
        || (next == '^' && marker == "[");
    fits && marker.chars().count() < MAX_CHARACTERS
}

/// The numbers between the brackets, in order; none if it is no marker.
pub(super) fn numbers(marker: &str) -> Option<Vec<usize>> {
    let inside = marker.strip_prefix('[')?.strip_suffix(']')?;
    let inside = inside.strip_prefix('^').unwrap_or(inside);
    let parts = inside.split([',', ';', ' ']).filter(|part| !part.is_empty());
    let ranges: Option<Vec<RangeInclusive<usize>>> = parts.map(range).collect();
    let numbers: Vec<usize> = ranges?.into_iter().flatten().collect();
    (!numbers.is_empty()).then_some(numbers)
}

fn range(part: &str) -> Option<RangeInclusive<usize>> {
    let number = |text: &str| text.parse().ok().filter(|_| text.len() <= MAX_DIGITS);
    match part.split_once(['-', '–']) {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(part).map(|number| number..=number),
    }
}

/// Whether a bracket right behind the word that ends `text` may cite: prose leaves out the space (`days[1]`), code
/// does not index by words. A name of one or two letters, or with other signs in it, is code.
pub(super) fn may_follow(text: &str) -> Glue {
    let word = text.rsplit(char::is_whitespace).next().unwrap_or(text);
    match word.chars().next_back() {
        None => Glue::Free,
        Some(last) if !(last.is_alphanumeric() || matches!(last, '_' | ')' | ']')) => Glue::Free,
        Some(_) if word.chars().any(crate::cite::unspaced) => Glue::Free,
        Some(_) if plain_word(word) => Glue::Glued,
        Some(_) => Glue::Never,
    }
}

/// How a bracket stands to what is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glue {
    /// Behind a space, punctuation or nothing.
    Free,
    /// Behind a word: a marker only if what follows fits too.
    Glued,
    /// Behind what looks like code.
    Never,
}

fn plain_word(word: &str) -> bool {
    let letters = word.trim_start_matches(['"', '“', '(', '*', '\'']);
    let number = letters.chars().all(|c| c.is_numeric() || matches!(c, '.' | ','));
    number
        || (letters.chars().count() >= 3
            && letters
                .chars()
                .all(|c| c.is_alphabetic() || matches!(c, '-' | '\'' | '’')))
}

/// Whether `next` may stand behind a marker that is glued to a word.
pub(super) fn may_precede(next: char) -> bool {
    next.is_whitespace() || matches!(next, '.' | ',' | ';' | ':' | '!' | '?' | '[' | ')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read() {
        let check = |marker: &str, expected: Option<&[usize]>| {
            assert_eq!(numbers(marker).as_deref(), expected, "{marker}")
        };
        check("[1]", Some(&[1]));
        check("[1, 12;3]", Some(&[1, 12, 3]));
        check("[2-4]", Some(&[2, 3, 4]));
        check("[^1]", Some(&[1]));
        for text in ["[]", "[ ]", "[2024]", "[-1]", "[1-]", "[3-1]", "[^]", "[-]"] {
            check(text, None);
        }
    }

    #[test]
    fn prose_may_be_glued_and_code_not() {
        for (text, expected) in [
            ("", Glue::Free),
            ("days.", Glue::Free),
            ("天", Glue::Free),
            ("thirty days", Glue::Glued),
            ("it is 30", Glue::Glued),
            ("a", Glue::Never),
            ("self.items", Glue::Never),
            ("f(x)", Glue::Never),
            ("item_list", Glue::Never),
            ("x[0]", Glue::Never),
        ] {
            assert_eq!(may_follow(text), expected, "{text}");
        }
    }
}
