//! The stop list: English function words that carry no topic, compared after lower-casing and before stemming.

use std::sync::LazyLock;

const STOP_WORDS: &str = "a about after again all also an and any are as at be been before being between but by can could did do \
    does done down during each for from had has have he her him his how i if in into is it its may me might must my no \
    not of on only or other our ours out over own s same shall she should so some such t than that the their them then \
    there these they this to too under up very was we were what when where which who whom whose why will with would \
    you your";

/// Length of the longest stop word, in bytes; each fits a `u64`.
const LONGEST: usize = 7;

static PACKED: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut packed: Vec<u64> = STOP_WORDS
        .split_ascii_whitespace()
        .map(|word| pack_word(word.as_bytes()))
        .collect();
    packed.sort_unstable();
    packed
});

/// Whether a lower-case word is on the stop list.
pub fn is_stop_word(word: &[u8]) -> bool {
    word.len() <= LONGEST && PACKED.binary_search(&pack_word(word)).is_ok()
}

fn pack_word(word: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..word.len()].copy_from_slice(word);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, STOP_WORDS, is_stop_word};

    #[test]
    fn knows_exactly_its_words() {
        for word in STOP_WORDS.split_ascii_whitespace() {
            assert!(word.len() <= LONGEST && is_stop_word(word.as_bytes()), "{word}");
        }
        for word in ["", "th", "thee", "norman", "between2", "don", "The"] {
            assert!(!is_stop_word(word.as_bytes()), "{word}");
        }
    }
}
