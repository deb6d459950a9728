//! Metrics of an answer against a reference, without a judge: token F1, and whether it contains the reference.
//!
//! Texts are normalised as in the SQuAD evaluation: lower case, without punctuation and English articles.

use std::collections::HashMap;

/// Words that are removed before the comparison, as in SQuAD.
const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// F1 of the words of `answer` and `reference`, in [0, 1]; 1 if both have none, 0 if only one has none.
pub fn token_f1(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (normalized_words(answer), normalized_words(reference));
    if answer.is_empty() || reference.is_empty() {
        return f64::from(u8::from(answer.is_empty() && reference.is_empty()));
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &reference {
        *left.entry(word).or_default() += 1;
    }
    let mut shared = 0.0;
    for word in &answer {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1.0;
        }
    }
    2.0 * shared / (answer.len() + reference.len()) as f64
}

/// Whether the words of `reference` occur in `answer` as a contiguous sequence.
pub fn contains_reference(answer: &str, reference: &str) -> bool {
    let (answer, reference) = (normalized_words(answer), normalized_words(reference));
    reference.is_empty() || answer.windows(reference.len()).any(|window| window == reference)
}

fn normalized_words(text: &str) -> Vec<String> {
    let kept: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || c.is_whitespace())
        .collect();
    let words = kept.split_whitespace().filter(|word| !ARTICLES.contains(word));
    words.map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_once_each() {
        let check = |answer: &str, reference: &str, f1: f64, holds: bool| {
            assert!(
                (token_f1(answer, reference) - f1).abs() < 1e-12,
                "{answer:?} {reference:?}"
            );
            assert_eq!(contains_reference(answer, reference), holds, "{answer:?} {reference:?}");
        };
        check("The cat sat.", "cat sat", 1.0, true);
        check("cat cat", "cat dog", 0.5, false);
        check("It was signed in 1991, in Oslo.", "1991", 0.25, true);
        check("19 91", "1991", 0.0, false);
        check("", "x", 0.0, false);
        check("the", "a", 1.0, true);
    }
}
