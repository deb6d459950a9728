//! Finds near copies among passages: the same paragraph in two files, or in two versions of one.
//!
//! Neighbouring chunks overlap by a fifth and must both stay, so only texts that agree nearly everywhere are copies.
//! Texts with different numbers are never copies, however alike their words: last year's table is not this year's.

use super::analyzer::{for_each_term, hash_terms};

/// Least share of common among all term triples (Jaccard similarity) that makes two texts copies.
pub const COPY_SIMILARITY: f64 = 0.9;
/// Number of neighbouring terms that are compared as one unit.
const SHINGLE: usize = 3;

/// Fingerprints of the texts that were kept; texts must be passed best first.
#[derive(Default)]
pub struct DuplicateFilter(Vec<ShingleFingerprint>);

impl DuplicateFilter {
    /// Keeps `text` and returns true, unless it is a near copy of a text that was kept before.
    pub fn keep_if_new(&mut self, text: &str) -> bool {
        let fingerprint = ShingleFingerprint::from_text(text);
        let stays = !self.0.iter().any(|earlier| earlier.is_near_copy(&fingerprint));
        if stays {
            self.0.push(fingerprint);
        }
        stays
    }
}

struct ShingleFingerprint {
    /// Hashes of the term triples, sorted, each once. They are used within one search only.
    shingles: Vec<u64>,
    /// Terms with a digit, sorted, repeats kept.
    numbers: Vec<String>,
}

impl ShingleFingerprint {
    fn from_text(text: &str) -> ShingleFingerprint {
        let (mut terms, mut numbers) = (Vec::with_capacity(text.len() / 6), Vec::new());
        for_each_term(text, |term| {
            terms.push(hash_terms(term));
            if term.contains(char::is_numeric) {
                numbers.push(term.to_owned());
            }
        });
        let mut shingles: Vec<u64> = match terms.len() {
            0 => vec![hash_terms(text.trim())],
            1..SHINGLE => vec![hash_terms(&terms)],
            _ => terms.windows(SHINGLE).map(hash_terms).collect(),
        };
        shingles.sort_unstable();
        shingles.dedup();
        numbers.sort_unstable();
        ShingleFingerprint { shingles, numbers }
    }

    fn is_near_copy(&self, other: &ShingleFingerprint) -> bool {
        let (few, many) = (self.shingles.len(), other.shingles.len());
        let (few, many) = (few.min(many), few.max(many));
        // Two texts cannot share more triples than the shorter one has.
        if (few as f64) < COPY_SIMILARITY * many as f64 || self.numbers != other.numbers {
            return false;
        }
        let common = self.common_shingles(other);
        common as f64 >= COPY_SIMILARITY * (few + many - common) as f64
    }

    fn common_shingles(&self, other: &ShingleFingerprint) -> usize {
        let mut others = other.shingles.iter().peekable();
        let is_common = |shingle: &&u64| {
            while others.next_if(|other| other < shingle).is_some() {}
            others.next_if_eq(shingle).is_some()
        };
        self.shingles.iter().filter(is_common).count()
    }
}

#[cfg(test)]
mod tests {
    use super::DuplicateFilter;

    fn check(texts: &[&str], expected: &[usize]) {
        let mut without = DuplicateFilter::default();
        let stay: Vec<usize> = (0..texts.len()).filter(|n| without.keep_if_new(texts[*n])).collect();
        assert_eq!(stay, expected, "{texts:?}");
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
