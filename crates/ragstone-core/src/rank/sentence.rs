//! Splits a passage into sentences, and ranks them for quoting.
//!
//! A break is white space behind a full stop, question or exclamation mark (closing quotes between) before an
//! upper-case letter or digit (opening quotes between); or a full-width mark; or an empty line. The full stop of an
//! abbreviation or initial is no break.

use std::ops::Range;

use super::bm25::LexicalQuery;

/// Weight of the passage's score S in the score of its sentences.
pub const PASSAGE_WEIGHT: f64 = 0.25;

/// Words whose full stop ends no sentence, case-sensitive; neither does that of a single capital.
const ABBREVIATIONS: [&str; 22] = [
    "Mr", "Mrs", "Ms", "Dr", "St", "vs", "etc", "Jr", "Sr", "No", "Fig", "al", "e.g", "i.e", "U.S", "Inc", "Ltd", "Co",
    "Prof", "Gen", "ca", "c",
];

/// A sentence of a passage as a byte range, with its score.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredSentence {
    /// Byte range in the passage's text.
    pub range: Range<usize>,
    /// MS over its own wordpieces, or its share of the question's idf, plus 0.25 S of the passage.
    pub score: f64,
}

/// Byte ranges of the sentences in order. The white space and closing quotes of a break belong to none.
pub fn split_sentences(text: &str) -> Vec<Range<usize>> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut position = 0;
    while let Some((end, next)) = next_break(text, position) {
        position = next;
        if ends_in_abbreviation(&text[start..end]) {
            continue;
        }
        if end > start {
            sentences.push(start..end);
        }
        start = next;
    }
    if !trim_end(&text[start..]).is_empty() {
        sentences.push(start..text.len());
    }
    sentences
}

/// Ranks the sentences by MS of the wordpieces that lie wholly inside them, best first. `spans` are byte ranges in
/// `text`; `maxsim_of` gets the indexes of a sentence's pieces. Sentences without a piece are left out.
pub fn best_sentences(
    text: &str,
    spans: &[Range<u32>],
    passage_score: f64,
    mut maxsim_of: impl FnMut(&[usize]) -> f64,
) -> Vec<ScoredSentence> {
    let scored = split_sentences(text).into_iter().filter_map(|range| {
        let inside = |span: &Range<u32>| {
            span.start as usize >= range.start && span.end as usize <= range.end && span.end > span.start
        };
        let rows: Vec<usize> = (0..spans.len()).filter(|&row| inside(&spans[row])).collect();
        (!rows.is_empty()).then(|| (maxsim_of(&rows), range))
    });
    best_first(scored, passage_score)
}

/// Ranks the sentences by the share of the question's idf that their words cover, best first; for texts without token
/// vectors.
pub fn best_sentences_by_words(text: &str, question: &LexicalQuery, passage_score: f64) -> Vec<ScoredSentence> {
    let scored = split_sentences(text)
        .into_iter()
        .map(|range| (question.covered_share(&text[range.clone()]), range));
    best_first(scored, passage_score)
}

fn best_first(scored: impl Iterator<Item = (f64, Range<usize>)>, passage_score: f64) -> Vec<ScoredSentence> {
    let mut best: Vec<_> = scored
        .map(|(score, range)| ScoredSentence {
            range,
            score: score + PASSAGE_WEIGHT * passage_score,
        })
        .collect();
    best.sort_by(|a, b| b.score.total_cmp(&a.score));
    best
}

/// End of the sentence and start of the next one at the first break from `position` on.
fn next_break(text: &str, position: usize) -> Option<(usize, usize)> {
    let mut before = text[..position].chars().next_back();
    for (offset, character) in text[position..].char_indices() {
        let here = position + offset;
        if matches!(before, Some('.' | '!' | '?'))
            && let Some(next) = behind_break(&text[here..])
        {
            return Some((here, here + next));
        }
        if matches!(character, '。' | '！' | '？') {
            let behind = here + character.len_utf8();
            return Some((behind, behind));
        }
        if text[here..].starts_with("\n\n") {
            let rest = text[here..].trim_start_matches('\n');
            return Some((here, text.len() - rest.len()));
        }
        before = Some(character);
    }
    None
}

/// Length of the closing quotes and white space behind a mark, if a sentence may start after them.
fn behind_break(text: &str) -> Option<usize> {
    let unquoted = text.trim_start_matches(['"', '\'', '”', '’', ')', ']']);
    let next = unquoted.trim_start();
    let starts = next
        .trim_start_matches(['"', '\'', '“', '‘', '(', '['])
        .starts_with(starts_sentence);
    (starts && next.len() < unquoted.len()).then_some(text.len() - next.len())
}

fn starts_sentence(character: char) -> bool {
    matches!(character, 'A'..='Z' | '0'..='9' | 'À'..='Þ' | 'Α'..='Ω' | 'А'..='Я')
}

fn ends_in_abbreviation(text: &str) -> bool {
    let Some(word) = trim_end(text).strip_suffix('.') else {
        return false;
    };
    let initial = word.strip_suffix(|last: char| last.is_ascii_uppercase());
    let abbreviated = ABBREVIATIONS
        .iter()
        .filter_map(|abbreviation| word.strip_suffix(abbreviation));
    abbreviated
        .chain(initial)
        .any(|before| !before.ends_with(is_word_character))
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// `text` without white space and the separators U+001C to U+001F at its end.
fn trim_end(text: &str) -> &str {
    text.trim_end_matches(|character: char| character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::bm25::TermStatistics;

    fn check(text: &str, expected: &[&str]) {
        let sentences: Vec<&str> = split_sentences(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(sentences, expected, "{text:?}");
    }

    #[test]
    fn marks_quotes_and_empty_lines_break() {
        check(
            "One. Two! “Three?” (Four) five",
            &["One.", "Two!", "“Three?", "(Four) five"],
        );
        check(
            "Head\n\nBody.  Übung. und weiter",
            &["Head", "Body.", "Übung. und weiter"],
        );
        check("京都。東京！", &["京都。", "東京！"]);
        check("1.5 million. 7 more", &["1.5 million.", "7 more"]);
        check("no end", &["no end"]);
        check(" \n\n ", &[" "]);
        check("", &[]);
    }

    #[test]
    fn abbreviations_and_initials_do_not() {
        check(
            "Dr. Who met A. B. Smith et al. Then he left.",
            &["Dr. Who met A. B. Smith et al. Then he left."],
        );
        check("So did Ms. Moss. KDr. Who", &["So did Ms. Moss.", "KDr.", "Who"]);
        check("see Fig.\n\nnext", &["see Fig.\n\nnext"]);
    }

    #[test]
    fn the_sentence_with_the_best_pieces_comes_first() {
        let text = "Äpfel. Birnen. Cut";
        let spans = [0..6, 8..14, 14..15];
        let best = best_sentences(text, &spans, 2.0, |rows| rows.iter().map(|&row| row as f64).sum());
        assert_eq!(
            best.iter()
                .map(|sentence| &text[sentence.range.clone()])
                .collect::<Vec<_>>(),
            ["Birnen.", "Äpfel."]
        );
        assert_eq!(best[0].score, 3.5);
    }

    #[test]
    fn words_choose_where_there_are_no_vectors() {
        let question = LexicalQuery::new("Who led the Normans?", &TermStatistics::default());
        let best = best_sentences_by_words("Rain fell. Rollo led the Norman army.", &question, 0.0);
        assert_eq!((best[0].range.start, best[0].score), (11, 1.0));
        assert_eq!(best[1].score, 0.0);
    }
}
