//! The features of a text that citing compares: content terms, numbers, names, negation and sentences.
//!
//! The analyzer and the sentence splitter are called only through [`content_terms`] and [`sentence_ranges`].

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

/// Words about the sources or the wording rather than the subject; they need no support.
const FRAMING: &[&str] = &[
    "accord",
    "according",
    "passage",
    "passages",
    "source",
    "sources",
    "document",
    "documents",
    "context",
    "provided",
    "text",
    "state",
    "states",
    "stated",
    "say",
    "says",
    "said",
    "mention",
    "mentions",
    "mentioned",
    "describe",
    "describes",
    "described",
    "based",
    "therefore",
    "however",
    "additionally",
    "also",
    "thus",
    "hence",
];

/// Words too common to support anything.
const COMMON: &[&str] = &[
    "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "did", "do", "does", "for", "from", "had",
    "has", "have", "he", "her", "his", "if", "in", "into", "is", "it", "its", "may", "no", "not", "of", "on", "or",
    "our", "she", "so", "such", "than", "that", "the", "their", "then", "there", "these", "they", "this", "those",
    "to", "was", "we", "were", "what", "when", "where", "which", "who", "will", "with", "would", "you", "your",
];

/// Words that negate a clause, in the languages the product is most used in; the ending `n't` is checked separately.
const NEGATIONS: &[&str] = &[
    "no", "not", "never", "none", "nor", "neither", "cannot", "without", "nobody", "nothing", "nicht", "kein", "keine",
    "keinen", "keinem", "keiner", "nie", "niemals", "ohne", "ne", "pas", "jamais", "sans", "aucun", "aucune", "nunca",
    "sin", "ningún", "ninguna", "non", "mai", "senza", "não", "sem", "niet", "geen", "nooit",
];

/// Number words that count as digits; `one` is left out, because it is more often a pronoun than a number.
const NUMBER_WORDS: &[(&str, u32)] = &[
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
];

/// The distinct content terms of a text, with number words as digits.
pub(super) fn content_terms(text: &str) -> BTreeSet<String> {
    let mut terms = BTreeSet::new();
    for word in lowercase_words(text) {
        match parse_number_word(&word) {
            Some(number) => drop(terms.insert(number.to_string())),
            None if COMMON.contains(&word.as_str()) => {}
            None => terms.extend(analyze_words(&word)),
        }
    }
    terms
}

/// The content terms that need support: without the terms of [`FRAMING`].
pub(super) fn claim_terms(text: &str) -> BTreeSet<String> {
    static FRAMING_TERMS: LazyLock<BTreeSet<String>> =
        LazyLock::new(|| FRAMING.iter().flat_map(|word| analyze_words(word)).collect());
    content_terms(text).difference(&FRAMING_TERMS).cloned().collect()
}

/// Byte ranges of the sentences of a text, in order.
pub(super) fn sentence_ranges(text: &str) -> Vec<Range<usize>> {
    split_sentences(text)
}

/// The numbers of a text: `1,000` as `1000`, `thirty` as `30`, `4.50` unchanged.
pub(super) fn number_terms(text: &str) -> BTreeSet<String> {
    let mut numbers: BTreeSet<String> = digit_runs(text).collect();
    numbers.extend(lowercase_words(text).filter_map(|word| Some(parse_number_word(&word)?.to_string())));
    numbers
}

/// Whether a clause contains a negation.
pub(super) fn is_negated(clause: &str) -> bool {
    lowercase_words(clause).any(|word| NEGATIONS.contains(&word.as_str()) || word.ends_with("n't"))
        || ["不", "没", "沒", "未", "無い", "ない", "ません", "않", "없"]
            .iter()
            .any(|mark| clause.contains(mark))
}

/// The clauses of one or more sentences: a negation applies to its own clause only.
pub(super) fn split_clauses(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| matches!(c, ',' | ';' | ':' | '(' | ')' | '，' | '；' | '：' | '、' | '。');
    sentence_ranges(text)
        .into_iter()
        .flat_map(move |range| text[range].split(ends))
        .flat_map(|part| part.split(" but "))
        .filter(|part| part.chars().any(char::is_alphanumeric))
}

/// The terms of words that begin with a capital, except the first word: names, unless all nouns are capitalised.
pub(super) fn name_terms(text: &str) -> BTreeSet<String> {
    let capital = |word: &&str| {
        word.chars()
            .find(|c| c.is_alphanumeric())
            .is_some_and(char::is_uppercase)
    };
    text.split_whitespace()
        .skip(1)
        .filter(capital)
        .flat_map(claim_terms)
        .collect()
}

/// Share of capitalised words above which a capital does not mark a name: in titles, and in German, where it is
/// about a third; in English prose it is about an eighth.
const CAPITALS_OF_NAMES: f64 = 0.25;

/// Whether a capital marks a name in this text, see [`CAPITALS_OF_NAMES`].
pub(super) fn capitals_mean_names(text: &str) -> bool {
    let begins = |word: &str| word.chars().next().filter(|c| c.is_alphabetic());
    let letters: Vec<char> = text.split_whitespace().filter_map(begins).collect();
    let capitals = letters.iter().filter(|c| c.is_uppercase()).count();
    (capitals as f64) < CAPITALS_OF_NAMES * letters.len() as f64
}

/// Lower-case words with their apostrophes and inner hyphens.
fn lowercase_words(text: &str) -> impl Iterator<Item = String> {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '’' | '-');
    text.split(move |c| !inside(c))
        .map(|word| word.trim_matches(['\'', '’', '-']).replace('’', "'").to_lowercase())
        .filter(|word| !word.is_empty())
}

/// The value of an English number word: `thirty` is 30, `twenty-five` is 25.
fn parse_number_word(word: &str) -> Option<u32> {
    let known = |word: &str| NUMBER_WORDS.iter().find(|(name, _)| *name == word).map(|entry| entry.1);
    let unit = |word: &str| if word == "one" { Some(1) } else { known(word) };
    known(word).or_else(|| {
        let (tens, units) = word.split_once('-')?;
        Some(known(tens).filter(|n| *n >= 20)? + unit(units).filter(|n| *n < 10)?)
    })
}

/// Runs of digits, without separators of thousands and with decimal points.
fn digit_runs(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_numeric() || matches!(c, '.' | ',' | '\u{a0}' | '\u{202f}')))
        .map(|run| run.trim_matches(['.', ',', '\u{a0}', '\u{202f}']))
        .filter(|run| run.chars().any(char::is_numeric))
        .flat_map(|run| match parse_thousands(run) {
            Some(number) => vec![number],
            None => run
                .split([',', '\u{a0}', '\u{202f}'])
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
        })
}

/// `1,000` and `12.345.678` as one number: every group behind the first has three digits.
fn parse_thousands(run: &str) -> Option<String> {
    let separator = run.chars().find(|c| !c.is_numeric())?;
    let (whole, fraction) = match separator {
        ',' => run
            .split_once('.')
            .map_or((run, None), |(whole, rest)| (whole, Some(rest))),
        '.' if run.matches('.').count() > 1 => (run, None),
        '.' => return None,
        _ => (run, None),
    };
    let groups: Vec<&str> = whole.split(separator).collect();
    let fits = groups.len() > 1 && groups[1..].iter().all(|group| group.len() == 3);
    fits.then(|| match fraction {
        Some(fraction) => format!("{}.{fraction}", groups.concat()),
        None => groups.concat(),
    })
}

/// The terms of words: without plural and other simple endings, and as pairs of characters in scripts without spaces.
fn analyze_words(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for run in text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()) {
        let characters: Vec<char> = run.to_lowercase().chars().collect();
        match characters.iter().any(|c| is_unspaced(*c)) {
            true if characters.len() > 1 => terms.extend(characters.windows(2).map(|pair| pair.iter().collect())),
            _ => terms.push(stem_word(characters.into_iter().collect())),
        }
    }
    terms
}

/// Removes the commonest English endings from words of more than four letters; from others only a final `s`.
fn stem_word(word: String) -> String {
    if !word.is_ascii() || word.len() < 5 {
        return word
            .strip_suffix('s')
            .filter(|rest| rest.len() > 2)
            .map_or(word.clone(), str::to_owned);
    }
    let cut = |ending: &str| word.strip_suffix(ending).filter(|rest| rest.len() >= 4);
    let base = cut("ies")
        .or(cut("ing"))
        .or(cut("es"))
        .or(cut("ed"))
        .or(cut("s"))
        .unwrap_or(&word);
    base.trim_end_matches(['e', 'y']).to_owned()
}

/// Whether a character's script writes no spaces between words.
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{323af}')
}

/// A sentence ends at a mark before white space that no lower-case letter follows, at a full-width mark, or at an
/// empty line.
fn split_sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut push = |range: Range<usize>| {
        let piece = &text[range.clone()];
        let trimmed = piece.trim();
        if !trimmed.is_empty() {
            let begin = range.start + piece.len() - piece.trim_start().len();
            found.push(begin..begin + trimmed.len());
        }
    };
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let after = rest.trim_start_matches(['"', '\'', ')', ']', '”', '’', '»']);
        let next = after.trim_start();
        let ends = match c {
            '。' | '！' | '？' => true,
            '.' | '!' | '?' => next.len() < after.len() && !next.starts_with(char::is_lowercase),
            '\n' => rest.trim_start_matches([' ', '\t', '\r']).starts_with('\n'),
            _ => false,
        };
        if ends {
            let end = text.len() - after.len();
            push(start..end);
            start = end;
        }
    }
    push(start..text.len());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        let check = |text: &str, expected: &[&str]| {
            let expected: BTreeSet<String> = expected.iter().map(|number| (*number).to_owned()).collect();
            assert_eq!(number_terms(text), expected, "{text:?}");
        };
        check("1,000 and 12.345.678 or 4.50", &["1000", "12345678", "4.50"]);
        check("within thirty days", &["30"]);
        check("twenty-one, thirty-five and one", &["21", "35"]);
        check("2024-05-01", &["2024", "05", "01"]);
        check("€1,234.56.", &["1234.56"]);
        check("in 3, 4 and 5", &["3", "4", "5"]);
        check("no number", &[]);
    }

    #[test]
    fn negation_is_seen_in_its_clause() {
        for clause in ["it isn't so", "it isn’t so", "Das ist nicht so", "cannot", "这不是"] {
            assert!(is_negated(clause), "{clause}");
        }
        for clause in ["it is so", "a notable knot", "der Sinn"] {
            assert!(!is_negated(clause), "{clause}");
        }
    }

    #[test]
    fn sentences_are_trimmed_ranges() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<&str> = sentence_ranges(text).into_iter().map(|range| &text[range]).collect();
            assert_eq!(found, expected);
        };
        check("One. Two!  Three?", &["One.", "Two!", "Three?"]);
        check("It is 3.5 m, e.g. here. Next", &["It is 3.5 m, e.g. here.", "Next"]);
        check("He said \"yes.\" Then left.", &["He said \"yes.\"", "Then left."]);
        check("退款需要三十天。运费免费。", &["退款需要三十天。", "运费免费。"]);
        check("A title\n\nA text", &["A title", "A text"]);
        check("", &[]);
    }
}
