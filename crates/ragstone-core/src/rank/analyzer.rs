//! Turns text into index terms: NFKC, lower case, accents removed, words of letters and digits, pairs of code points
//! where a script writes no spaces, stop words removed, ASCII words stemmed by Porter's algorithm.
//!
//! Invariant: a term is never empty and contains neither white space nor "_"; equal text gives equal terms in every
//! process.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

use super::porter;
use super::stop_words::is_stop_word;

/// Name and version of the analyzer. Part of the pipeline fingerprint: another name means another index.
pub const LEXICAL_NAME: &str = "nfkc-porter-pairs/2";

/// Joins the two terms of a bigram. No term contains it.
const BIGRAM_JOINT: char = '_';

/// A word: letters and digits with the vowel signs of Indic, Thai and Arabic inside, and at most one apostrophe part.
static WORD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\p{L}\p{N}](?:[\p{L}\p{N}]|[\p{M}&&[\u0900-\u0d7f\u0e31-\u0e4e\u064b-\u065f]])*(?:'[\p{L}\p{N}]+)?")
        .expect("a constant that the tests compile")
});

/// The index terms of a text in order, repeats kept.
pub fn analyze_text(text: &str) -> Vec<String> {
    let mut terms = Vec::with_capacity(text.len() / 8);
    for_each_term(text, |term| terms.push(term.to_owned()));
    terms
}

/// Pairs of neighbouring terms; stop words were removed before, so a pair may reach over them.
pub fn build_bigrams(terms: &[String]) -> Vec<String> {
    terms
        .windows(2)
        .map(|pair| format!("{}{BIGRAM_JOINT}{}", pair[0], pair[1]))
        .collect()
}

/// Hash of one or more terms where only equality counts; it is equal for equal terms within one process.
pub(crate) fn hash_terms<T: Hash + ?Sized>(terms: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    terms.hash(&mut hasher);
    hasher.finish()
}

/// Like [`analyze_text`] without an allocation for each term.
pub fn for_each_term(text: &str, mut emit: impl FnMut(&str)) {
    let mut word = Vec::new();
    let mut position = 0;
    while let Some(foreign) = text.as_bytes()[position..].iter().position(|byte| !byte.is_ascii()) {
        let (start, end) = non_ascii_range(text.as_bytes(), position, position + foreign);
        emit_ascii_terms(&text.as_bytes()[position..start], &mut word, &mut emit);
        emit_unicode_terms(&text[start..end], &mut word, &mut emit);
        position = end;
    }
    emit_ascii_terms(&text.as_bytes()[position..], &mut word, &mut emit);
}

/// Byte range of the space-separated words around a non-ASCII byte that need Unicode's rules. An ASCII space composes
/// with nothing, belongs to no word and ends the context of a final sigma, so cutting there changes no term.
fn non_ascii_range(bytes: &[u8], position: usize, foreign: usize) -> (usize, usize) {
    let start = bytes[position..foreign]
        .iter()
        .rposition(is_space)
        .map_or(position, |space| position + space + 1);
    let mut end = next_space(bytes, foreign);
    while end < bytes.len() {
        let next = next_space(bytes, end + 1);
        if bytes[end..next].is_ascii() {
            break;
        }
        end = next;
    }
    (start, end)
}

fn next_space(bytes: &[u8], from: usize) -> usize {
    bytes[from..]
        .iter()
        .position(is_space)
        .map_or(bytes.len(), |space| from + space)
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
}

/// Emits the terms that [`WORD`] and normalisation would give, for text in which every byte is ASCII.
fn emit_ascii_terms(mut bytes: &[u8], word: &mut Vec<u8>, emit: &mut impl FnMut(&str)) {
    while let Some(start) = bytes.iter().position(u8::is_ascii_alphanumeric) {
        bytes = &bytes[start..];
        let stem_end = alphanumeric_end(bytes, 0);
        let end = match bytes.get(stem_end..stem_end + 2) {
            Some([b'\'', next]) if next.is_ascii_alphanumeric() => alphanumeric_end(bytes, stem_end + 1),
            _ => stem_end,
        };
        word.clear();
        word.extend(bytes[..end].iter().map(u8::to_ascii_lowercase));
        emit_ascii(word, emit);
        bytes = &bytes[end..];
    }
}

fn alphanumeric_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..]
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric())
        .map_or(bytes.len(), |end| from + end)
}

fn emit_unicode_terms(text: &str, word: &mut Vec<u8>, emit: &mut impl FnMut(&str)) {
    let normal = normalize_text(text);
    for matched in WORD.find_iter(&normal) {
        let mut rest = matched.as_str();
        while let Some(start) = rest.find(is_unspaced) {
            let run = &rest[start..];
            let end = run.find(|character| !is_unspaced(character)).unwrap_or(run.len());
            emit_plain_term(&rest[..start], word, emit);
            emit_overlapping_pairs(&run[..end], emit);
            rest = &run[end..];
        }
        emit_plain_term(rest, word, emit);
    }
}

/// NFKC, soft hyphens out, U+2019 to an apostrophe, lower case of the whole string (a final sigma depends on its
/// neighbours), U+0300..U+036F dropped from the NFD form, NFC.
fn normalize_text(text: &str) -> String {
    let compatible: String = text
        .nfkc()
        .filter(|&character| character != '\u{ad}')
        .map(|character| if character == '\u{2019}' { '\'' } else { character })
        .collect();
    compatible
        .to_lowercase()
        .nfd()
        .filter(|character| !matches!(character, '\u{300}'..='\u{36f}'))
        .nfc()
        .collect()
}

/// Scripts without spaces between words: CJK with Hangul, Thai, Lao, Burmese, Khmer.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}'
        | '\u{e00}'..='\u{e7f}' | '\u{e80}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

/// Emits each pair of neighbouring code points; a run of one code point is a term of its own.
fn emit_overlapping_pairs(run: &str, emit: &mut impl FnMut(&str)) {
    let starts: Vec<usize> = run.char_indices().map(|(start, _)| start).chain([run.len()]).collect();
    if starts.len() == 2 {
        emit(run);
    }
    for pair in starts.windows(3) {
        emit(&run[pair[0]..pair[2]]);
    }
}

fn emit_plain_term(part: &str, word: &mut Vec<u8>, emit: &mut impl FnMut(&str)) {
    if part.is_ascii() {
        word.clear();
        word.extend_from_slice(part.as_bytes());
        return emit_ascii(word, emit);
    }
    let closed = part.strip_suffix("'s").unwrap_or(part);
    if closed.contains('\'') {
        emit(&closed.replace('\'', ""));
    } else {
        emit(closed);
    }
}

/// Emits the stem of a word without its possessive and other apostrophes, unless it is a stop word.
fn emit_ascii(word: &mut Vec<u8>, emit: &mut impl FnMut(&str)) {
    if word.ends_with(b"'s") {
        word.truncate(word.len() - 2);
    }
    word.retain(|&byte| byte != b'\'');
    if word.is_empty() || is_stop_word(word) {
        return;
    }
    porter::stem_word(word);
    emit(str::from_utf8(word).expect("only ASCII was put in"));
}

#[cfg(test)]
mod tests {
    use super::{analyze_text, build_bigrams};

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(analyze_text(text), expected, "{text}");
    }

    #[test]
    fn english_loses_stop_words_possessives_and_endings() {
        check(
            "The foxes' den wasn’t Rollo's alone",
            &["fox", "den", "wasnt", "rollo", "alon"],
        );
        check(
            "O'Brien's rock'n'roll, 3.5 e-mails_x",
            &["obrien", "rockn", "roll", "3", "5", "e", "mail", "x"],
        );
        check("", &[]);
        check(" -- the of ' 's ", &[]);
    }

    #[test]
    fn other_scripts_follow_unicode() {
        check(
            "Ümläut naïve CAFÉ\u{301} ﬁnd ①②",
            &["umlaut", "naiv", "cafe", "find", "12"],
        );
        check("co\u{ad}operate ΟΔΟΣ İx", &["cooper", "οδος", "ix"]);
        check("नमस्ते है।", &["नमस्ते", "है"]);
    }

    #[test]
    fn unspaced_runs_become_pairs() {
        check("北京大学 is 京", &["北京", "京大", "大学", "京"]);
        check("iPhone手機x's", &["iphon", "手機", "x"]);
    }

    #[test]
    fn mixed_text_is_the_sum_of_its_words() {
        let words = [
            "The", "café", "Σας", "jumps", "ΣΑΣ", "北京", "e\u{301}", "\u{301}x", "dogs",
        ];
        let apart: Vec<String> = words.iter().flat_map(|word| analyze_text(word)).collect();
        assert_eq!(analyze_text(&words.join(" ")), apart);
        assert_eq!(analyze_text(&words.join("\n")), apart);
    }

    #[test]
    fn bigrams_join_neighbours() {
        assert_eq!(
            build_bigrams(&analyze_text("quick brown foxes")),
            ["quick_brown", "brown_fox"]
        );
        assert!(build_bigrams(&analyze_text("fox")).is_empty());
    }
}
