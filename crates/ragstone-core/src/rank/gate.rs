//! How far the encoder is trusted: the gate g is near 1 for text that its tokenizer reads like English prose, and 0 for
//! scripts that it cannot read. It measures spelling, not language.

use std::sync::LazyLock;

use regex::Regex;

/// Number of best documents by B whose gates are averaged for a query.
pub const GATE_DOCUMENTS: usize = 10;
/// Characters at the start of a document that its gate is computed from.
pub const GATE_CHARACTERS: usize = 1000;
/// Wordpieces per word from which on a document's gate is 0. (English prose: 1.2.)
const FERTILITY_SHUT: f64 = 3.2;
/// The gate falls from 1 to 0 over this many pieces per word.
const FERTILITY_RANGE: f64 = 1.6;

static WORD: LazyLock<Regex> = LazyLock::new(|| compile_pattern(r"[\p{L}\p{M}]+"));
static LETTER: LazyLock<Regex> = LazyLock::new(|| compile_pattern(r"\p{L}"));
static LATIN: LazyLock<Regex> = LazyLock::new(|| compile_pattern(r"\p{Script=Latin}"));

fn compile_pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant that the tests compile")
}

/// The encoder's tokenizer for single words, without special tokens.
pub trait WordPieces {
    /// Ids of the word's pieces.
    fn word_pieces(&self, word: &str) -> Vec<u32>;
    /// Id of the piece for text that the vocabulary lacks.
    fn unknown_piece(&self) -> u32;
}

/// How the tokenizer splits the words of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordStatistics {
    /// Wordpieces per word, at least 0; 1 without words.
    pub fertility: f64,
    /// Share of words with an unknown piece, in [0, 1].
    pub unknown_share: f64,
    /// Latin characters per letter.
    pub latin_share: f64,
}

/// Statistics over a whole text. A text without words counts as well read: (1, 0, 1).
pub fn word_statistics(text: &str, tokenizer: &impl WordPieces) -> WordStatistics {
    let (mut words, mut pieces, mut unknown) = (0_u32, 0, 0_u32);
    for word in WORD.find_iter(text) {
        let ids = tokenizer.word_pieces(word.as_str());
        words += 1;
        pieces += ids.len();
        unknown += u32::from(ids.contains(&tokenizer.unknown_piece()));
    }
    if words == 0 {
        return WordStatistics {
            fertility: 1.0,
            unknown_share: 0.0,
            latin_share: 1.0,
        };
    }
    WordStatistics {
        fertility: pieces as f64 / f64::from(words),
        unknown_share: f64::from(unknown) / f64::from(words),
        latin_share: latin_share(text),
    }
}

/// Gate of a document from the first [`GATE_CHARACTERS`] of its text, in [0, 1].
pub fn gate_of_document(text: &str, tokenizer: &impl WordPieces) -> f64 {
    let end = text
        .char_indices()
        .nth(GATE_CHARACTERS)
        .map_or(text.len(), |(end, _)| end);
    document_gate(word_statistics(&text[..end], tokenizer))
}

/// Gate of a question, in [0, 1].
pub fn gate_of_query(question: &str, tokenizer: &impl WordPieces) -> f64 {
    query_gate(word_statistics(question, tokenizer))
}

/// Gate of a document: 1 up to 1.6 pieces per word, 0 from 3.2 on, times the shares of known words and Latin letters.
pub fn document_gate(statistics: WordStatistics) -> f64 {
    ((FERTILITY_SHUT - statistics.fertility) / FERTILITY_RANGE).clamp(0.0, 1.0) * query_gate(statistics)
}

/// Gate of a question: the share of known words times that of Latin letters. Questions are short and full of names, so
/// fertility does not count.
pub fn query_gate(statistics: WordStatistics) -> f64 {
    (1.0 - statistics.unknown_share) * statistics.latin_share
}

/// g of a query: its own gate times the mean gate of its [`GATE_DOCUMENTS`] best documents by B (those with B > 0; if
/// there are none, of its best by cosine). 0 without documents.
pub fn combine_gates(query_gate: f64, document_gates: &[f64]) -> f64 {
    if document_gates.is_empty() {
        return 0.0;
    }
    query_gate * document_gates.iter().sum::<f64>() / document_gates.len() as f64
}

/// Latin characters per letter, 0 to 1: the only statistic that needs no tokenizer.
pub fn latin_share(text: &str) -> f64 {
    if text.is_ascii() {
        return if text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            1.0
        } else {
            0.0
        };
    }
    LATIN.find_iter(text).count() as f64 / LETTER.find_iter(text).count().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of four letters; what is not ASCII is unknown.
    struct Fours;

    impl WordPieces for Fours {
        fn word_pieces(&self, word: &str) -> Vec<u32> {
            if word.is_ascii() {
                vec![7; word.len().div_ceil(4)]
            } else {
                vec![self.unknown_piece()]
            }
        }
        fn unknown_piece(&self) -> u32 {
            100
        }
    }

    fn check(text: &str, fertility: f64, unknown_share: f64, latin_share: f64) {
        let expected = WordStatistics {
            fertility,
            unknown_share,
            latin_share,
        };
        assert_eq!(word_statistics(text, &Fours), expected, "{text}");
    }

    #[test]
    fn counts_words_pieces_and_letters() {
        check("", 1.0, 0.0, 1.0);
        check("12 + 34", 1.0, 0.0, 1.0);
        check("foxes jump", 1.5, 0.0, 1.0);
        check("café bar", 1.0, 0.5, 1.0);
        check("мир abc", 1.0, 0.5, 0.5);
    }

    #[test]
    fn gates_shut_with_long_words_unknown_pieces_and_other_scripts() {
        assert_eq!(gate_of_document("plain text", &Fours), 1.0);
        assert_eq!(gate_of_document("Donaudampfschiff", &Fours), 0.0);
        assert_eq!(gate_of_query("Donaudampfschiff", &Fours), 1.0);
        assert_eq!(gate_of_query("мир", &Fours), 0.0);
        let long_tail = format!(
            "{} {}",
            "word ".repeat(GATE_CHARACTERS / 5),
            "Donaudampfschiff ".repeat(99)
        );
        assert_eq!(gate_of_document(&long_tail, &Fours), 1.0);
    }

    #[test]
    fn g_is_the_mean_of_the_documents_times_the_query() {
        assert_eq!(combine_gates(0.5, &[1.0, 0.5]), 0.375);
        assert_eq!(combine_gates(1.0, &[]), 0.0);
    }
}
