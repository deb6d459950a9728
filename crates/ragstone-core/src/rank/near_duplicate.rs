//! Near copies among passages: the same paragraph in two files, or in two versions of one.
//!
//! Neighbouring chunks overlap by a fifth and must both stay, so only texts that agree nearly everywhere are copies. Texts
//! whose numbers differ are none, however alike the words: last year's table is not this year's.

use std::collections::HashSet;

use super::analyzer::analyze;
use super::bm25::TermId;

/// Least share of common to all term triples (Jaccard) that makes two texts copies.
pub const COPY_SIMILARITY: f64 = 0.9;
/// Neighbouring terms that are compared as one.
const SHINGLE: usize = 3;

/// Numbers of the texts that stay, in order: each text that is no near copy of one that stays before it. Give the best
/// text first.
pub fn without_near_copies<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
    let mut kept: Vec<(usize, Fingerprint)> = Vec::new();
    for (number, text) in texts.into_iter().enumerate() {
        let fingerprint = Fingerprint::of(text);
        if !kept.iter().any(|(_, earlier)| earlier.is_copy(&fingerprint)) {
            kept.push((number, fingerprint));
        }
    }
    kept.into_iter().map(|(number, _)| number).collect()
}

struct Fingerprint {
    shingles: HashSet<TermId>,
    /// Terms with a digit, sorted, repeats kept.
    numbers: Vec<String>,
}

impl Fingerprint {
    fn of(text: &str) -> Fingerprint {
        let mut terms = analyze(text);
        let shingles = match terms.len() {
            0 => HashSet::from([TermId::of(text.trim())]),
            1..SHINGLE => HashSet::from([TermId::of(&terms.join("_"))]),
            _ => terms
                .windows(SHINGLE)
                .map(|triple| TermId::of(&triple.join("_")))
                .collect(),
        };
        terms.retain(|term| term.contains(char::is_numeric));
        terms.sort_unstable();
        Fingerprint {
            shingles,
            numbers: terms,
        }
    }

    fn is_copy(&self, other: &Fingerprint) -> bool {
        let common = self.shingles.intersection(&other.shingles).count();
        let all = self.shingles.len() + other.shingles.len() - common;
        common as f64 >= COPY_SIMILARITY * all as f64 && self.numbers == other.numbers
    }
}

#[cfg(test)]
mod tests {
    use super::without_near_copies;

    fn check(texts: &[&str], expected: &[usize]) {
        assert_eq!(without_near_copies(texts.iter().copied()), expected, "{texts:?}");
    }

    fn words(range: std::ops::Range<u32>) -> String {
        let letter = |digit: u32| char::from_u32(u32::from('a') + digit).expect("a letter");
        range
            .map(|word| format!("{}{}{} ", letter(word / 26), letter(word % 26), "xk"))
            .collect()
    }

    #[test]
    fn copies_collapse_to_the_better_one() {
        let text = words(0..100);
        check(
            &[
                &text,
                "other words here",
                &text.to_uppercase(),
                &format!("Confidential {text}"),
            ],
            &[0, 1],
        );
        check(&["Fox", "the foxes", "fox den"], &[0, 2]);
        check(&["", " ", "..."], &[0, 2]);
        check(&[], &[]);
    }

    #[test]
    fn overlapping_chunks_both_stay() {
        check(&[&words(0..100), &words(80..180)], &[0, 1]);
        check(&[&words(0..100), &words(10..110)], &[0, 1]);
    }

    #[test]
    fn other_numbers_are_no_copy() {
        let text = words(0..100);
        check(
            &[
                &format!("{text} 2023"),
                &format!("{text} 2024"),
                &format!("{text} 2023!"),
            ],
            &[0, 1],
        );
    }
}
