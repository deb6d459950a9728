//! Identifiers: clause numbers, versions, part and ticket numbers, dates, which the word analyzer would split.
//!
//! "12.1.2" as three small numbers matches half of a standard; as one term it matches its clause. The recipe
//! distinguishes them by pairs of neighbouring terms only, which count little, and not at all in languages that the
//! model cannot read.
//!
//! Invariant: no analyzed term and no pair equals an identifier's term.

use std::sync::LazyLock;

use regex::Regex;

/// First character of an identifier's term; no other term begins with it.
const MARK: char = '=';
/// Longest identifier, in bytes; longer ones are paths or encoded data, which nobody searches for.
const MAX_BYTES: usize = 48;

/// Runs of ASCII letters and digits joined by single dots, hyphens, slashes or underscores.
static JOINED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[0-9A-Za-z]+(?:[.\-/_][0-9A-Za-z]+)+").expect("a constant that the tests compile"));

/// The terms of a text's identifiers, in order, repeats kept: joined runs that contain a digit, in lower case.
pub fn identifier_terms(text: &str) -> Vec<String> {
    JOINED
        .find_iter(text)
        .map(|found| found.as_str())
        .filter(|found| found.len() <= MAX_BYTES && found.bytes().any(|byte| byte.is_ascii_digit()))
        .map(|found| format!("{MARK}{}", found.to_ascii_lowercase()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_and_has_a_digit_is_one_term() {
        for (text, expected) in [
            ("第 12.1.2 条对应哪个 CWE 编号？", vec!["=12.1.2"]),
            ("See CVE-2021-44228, v1.2.", vec!["=cve-2021-44228", "=v1.2"]),
            ("on 06/08/2020 and 2020-08-06", vec!["=06/08/2020", "=2020-08-06"]),
            ("1.2 and 1.2", vec!["=1.2", "=1.2"]),
            ("well-known e.g. 5 ... a--1 .5", vec![]),
            (&"1.".repeat(60), vec![]),
        ] {
            assert_eq!(identifier_terms(text), expected, "{text}");
        }
    }
}
