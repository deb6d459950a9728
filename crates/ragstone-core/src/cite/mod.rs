//! Finds the span of a passage that supports a sentence of an answer. Pure: text in, byte ranges out.
//!
//! Invariant: a returned range lies in the passage's text on character boundaries, is not empty, and contains every
//! number of the sentence; the passage contains every name. Only words are compared, not logic: a sentence with
//! subject and object swapped passes.

mod words;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

pub(crate) use words::is_unspaced;

use crate::rank::analyzer::hash_terms;

/// Share of a sentence's content terms that a span must contain if the model named the passage. Measured on 304
/// questions of squad2 as sentences (the question's words and an answer): 78 % of the true ones are found, with the
/// right span; of those with another question's answer 12 % pass, and against a passage of the same article that
/// lacks the answer 0.3 %. At 0.5 it is 86 %, 23 % and 0.8 %: a missing citation is better than a wrong one.
pub const NAMED_THRESHOLD: f64 = 0.6;

/// The same if the model named no passage: the words are then the only evidence, so nearly all must be there
/// (48 %, 2.4 % and 0.03 % of the same sentences).
pub const UNNAMED_THRESHOLD: f64 = 0.8;

/// Fewest content terms of a sentence that can be supported; `Yes, it is.` has nothing to compare.
const FEWEST_TERMS: usize = 2;

/// The same if the model named no passage.
const FEWEST_UNNAMED_TERMS: usize = 3;

/// Longest gap, in bytes, between two sentences that still count as neighbours: a paragraph break.
const NEIGHBOUR_GAP: usize = 8;

/// A span that supports a sentence.
struct SupportSpan {
    /// Byte range in the passage's text.
    range: Range<usize>,
    /// Share of the sentence's content terms that it contains, 0 to 1; [`VERBATIM`] if it stands there word for word.
    score: f64,
}

/// Score of a sentence that stands in the passage word for word; above every share of terms.
const VERBATIM: f64 = 2.0;

/// The span of `passage_text`, one or two neighbouring sentences, that supports `sentence`; for a passage that the
/// model named.
pub fn find_support(sentence: &str, passage_text: &str) -> Option<Range<usize>> {
    PassageText::new(passage_text).find_support(sentence)
}

/// The passage (its index) and span that support `sentence` best, for a sentence for which the model named no passage.
/// Uses [`UNNAMED_THRESHOLD`].
pub fn find_best_support(sentence: &str, passages: &[PassageText]) -> Option<(usize, Range<usize>)> {
    let claim = SentenceClaim::from_sentence(sentence);
    let supports = passages.iter().enumerate().filter_map(|(at, passage)| {
        Some((
            at,
            passage.find_support_for(&claim, UNNAMED_THRESHOLD, FEWEST_UNNAMED_TERMS)?,
        ))
    });
    supports
        .reduce(|best, other| if other.1.score > best.1.score { other } else { best })
        .map(|(at, support)| (at, support.range))
}

/// A passage's text, analysed once for all the sentences that are compared with it.
#[derive(Debug)]
pub struct PassageText {
    text: Arc<str>,
    parts: OnceLock<PassageSentences>,
}

/// A passage's sentences with their terms. Terms are kept as hashes of eight bytes, since this stays in memory for a
/// whole answer.
#[derive(Debug)]
struct PassageSentences {
    spans: Vec<(Range<usize>, TermHashes)>,
    names_count: bool,
}

/// Hashes of terms, sorted for binary search.
#[derive(Debug)]
struct TermHashes(Box<[u64]>);

impl TermHashes {
    fn from_terms(terms: &BTreeSet<String>) -> Self {
        let mut hashes: Box<[u64]> = terms.iter().map(hash_terms).collect();
        hashes.sort_unstable();
        Self(hashes)
    }

    fn contains(&self, term: u64) -> bool {
        self.0.binary_search(&term).is_ok()
    }
}

impl PassageText {
    /// Stores the text; it is analysed with the first sentence that needs it.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            parts: OnceLock::new(),
        }
    }

    /// The text it was made from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The span that supports `sentence`, if the model named this passage.
    pub fn find_support(&self, sentence: &str) -> Option<Range<usize>> {
        self.find_support_for(&SentenceClaim::from_sentence(sentence), NAMED_THRESHOLD, FEWEST_TERMS)
            .map(|support| support.range)
    }

    fn find_support_for(&self, claim: &SentenceClaim<'_>, threshold: f64, fewest: usize) -> Option<SupportSpan> {
        if claim.terms.len() < fewest {
            return None;
        }
        if let Some(range) = find_verbatim(claim.text, &claim.terms, &self.text) {
            return Some(SupportSpan { range, score: VERBATIM });
        }
        let parts = self.parts.get_or_init(|| PassageSentences::from_text(&self.text));
        if parts.names_count && !claim.names.iter().all(|name| parts.contains_term(*name)) {
            return None;
        }
        let mut best: Option<SupportSpan> = None;
        for (range, score) in parts.candidate_spans(&claim.wanted) {
            let better = best.as_ref().is_none_or(|best| score > best.score);
            if score >= threshold && better && claim.agrees_with(&self.text[range.clone()]) {
                best = Some(SupportSpan { range, score });
            }
        }
        best
    }
}

impl PassageSentences {
    fn from_text(text: &str) -> Self {
        let spans: Vec<_> = words::sentence_ranges(text)
            .into_iter()
            .map(|range| {
                (
                    range.clone(),
                    TermHashes::from_terms(&words::content_terms(&text[range])),
                )
            })
            .collect();
        Self {
            names_count: words::capitals_mean_names(text),
            spans,
        }
    }

    fn contains_term(&self, term: u64) -> bool {
        self.spans.iter().any(|(_, terms)| terms.contains(term))
    }

    /// Single sentences, then pairs of neighbours, each with the share of `wanted` that it contains.
    fn candidate_spans(&self, wanted: &[u64]) -> impl Iterator<Item = (Range<usize>, f64)> {
        let share =
            |held: &dyn Fn(u64) -> bool| wanted.iter().filter(|term| held(**term)).count() as f64 / wanted.len() as f64;
        let single = self
            .spans
            .iter()
            .map(move |(range, terms)| (range.clone(), share(&|term| terms.contains(term))));
        let neighbours = self
            .spans
            .windows(2)
            .filter(|pair| pair[1].0.start - pair[0].0.end <= NEIGHBOUR_GAP);
        let pairs = neighbours.map(move |pair| {
            let held = |term: u64| pair.iter().any(|(_, terms)| terms.contains(term));
            (pair[0].0.start..pair[1].0.end, share(&held))
        });
        single.chain(pairs)
    }
}

/// Share of the content terms of `question` that `span` contains, 0 to 1: word overlap, if no better score exists.
pub fn term_overlap(question: &str, span: &str) -> f64 {
    contained_share(&words::content_terms(question), &words::content_terms(span))
}

/// Byte ranges of the sentences of a text, in order.
pub fn sentence_ranges(text: &str) -> Vec<Range<usize>> {
    words::sentence_ranges(text)
}

/// A sentence of an answer, analysed for the search for its support.
struct SentenceClaim<'a> {
    text: &'a str,
    terms: BTreeSet<String>,
    /// The terms as hashes.
    wanted: Vec<u64>,
    numbers: BTreeSet<String>,
    /// Terms of names, as hashes.
    names: Vec<u64>,
    /// The terms of each clause, and whether it is negated.
    clauses: Vec<(BTreeSet<String>, bool)>,
}

impl<'a> SentenceClaim<'a> {
    fn from_sentence(sentence: &'a str) -> Self {
        let text = without_list_marker(sentence.trim());
        let terms = words::claim_terms(text);
        Self {
            text,
            wanted: terms.iter().map(hash_terms).collect(),
            terms,
            numbers: words::number_terms(text),
            names: words::name_terms(text).iter().map(hash_terms).collect(),
            clauses: words::split_clauses(text).map(clause_polarity).collect(),
        }
    }

    /// Whether `span` contains every number and contradicts no clause.
    fn agrees_with(&self, span: &str) -> bool {
        if !self.numbers.is_subset(&words::number_terms(span)) {
            return false;
        }
        let spans: Vec<_> = words::split_clauses(span).map(clause_polarity).collect();
        self.clauses
            .iter()
            .all(|(terms, negated)| polarity_agrees(terms, *negated, &spans))
    }
}

fn clause_polarity(clause: &str) -> (BTreeSet<String>, bool) {
    (words::claim_terms(clause), words::is_negated(clause))
}

/// Whether the terms that a clause shares with a span have the same polarity there: each term of an affirmed clause
/// must stand in an affirmed clause, and at least one term of a negated clause in a negated one.
fn polarity_agrees(terms: &BTreeSet<String>, negated: bool, clauses: &[(BTreeSet<String>, bool)]) -> bool {
    let stands = |term: &String, way: bool| {
        clauses
            .iter()
            .any(|(clause, other)| *other == way && clause.contains(term))
    };
    let mut shared = terms
        .iter()
        .filter(|term| stands(term, true) || stands(term, false))
        .peekable();
    match negated {
        false => shared.all(|term| stands(term, false)),
        true => shared.peek().is_none() || shared.any(|term| stands(term, true)),
    }
}

fn contained_share(wanted: &BTreeSet<String>, held: &BTreeSet<String>) -> f64 {
    match wanted.len() {
        0 => 0.0,
        count => wanted.intersection(held).count() as f64 / count as f64,
    }
}

/// Where the passage contains the sentence word for word, or its quotation if that has all its terms; ignores
/// differences of white space.
fn find_verbatim(sentence: &str, terms: &BTreeSet<String>, passage: &str) -> Option<Range<usize>> {
    let bare = |text: &str| {
        text.trim_end_matches(['.', '!', '?', '"', '”', '»', '*', '_', ' '])
            .len()
    };
    let whole = &sentence[..bare(sentence)];
    let quoted = first_quotation(sentence).filter(|quote| &words::claim_terms(quote) == terms);
    [Some(whole), quoted]
        .into_iter()
        .flatten()
        .find_map(|text| find_collapsed(text.trim_start_matches(['"', '“', '«', '*', '_', ' ']), passage))
}

/// The text between the first opening and the last closing double quote.
fn first_quotation(sentence: &str) -> Option<&str> {
    let (open, close) = [('"', '"'), ('“', '”'), ('«', '»'), ('„', '“')]
        .into_iter()
        .find(|(open, _)| sentence.contains(*open))?;
    let inside = &sentence[sentence.find(open)? + open.len_utf8()..];
    Some(&inside[..inside.rfind(close)?])
}

/// The first occurrence of `needle` in `text`, where runs of white space count as one space. Whole words only.
fn find_collapsed(needle: &str, text: &str) -> Option<Range<usize>> {
    let wanted: Vec<&str> = needle.split_whitespace().collect();
    let first = wanted.first()?;
    let starts = text.match_indices(first).map(|(at, _)| at);
    starts.filter(|at| begins_word(text, *at)).find_map(|start| {
        let mut end = start;
        for (number, word) in wanted.iter().enumerate() {
            let gap = text[end..].len() - text[end..].trim_start().len();
            if number > 0 && gap == 0 {
                return None;
            }
            end += if number > 0 { gap } else { 0 };
            end += text[end..].starts_with(word).then_some(word.len())?;
        }
        ends_word(text, end).then(|| start..end + closing_mark_length(&text[end..]))
    })
}

/// Whether a word or number of `text` may begin at `at`: `5 days` is not found in `3.5 days`.
fn begins_word(text: &str, at: usize) -> bool {
    let (before, from) = (&text[..at], &text[at..]);
    let inside_number = from.starts_with(char::is_numeric)
        && before
            .strip_suffix(['.', ','])
            .is_some_and(|rest| rest.ends_with(char::is_numeric));
    !(inside_number || before.ends_with(is_word_character) && from.starts_with(is_word_character))
}

/// Whether a word or number of `text` may end at `at`: `is 3` is not found in `is 3.5`.
fn ends_word(text: &str, at: usize) -> bool {
    let (before, from) = (&text[..at], &text[at..]);
    let inside_number = before.ends_with(char::is_numeric)
        && from
            .strip_prefix(['.', ','])
            .is_some_and(|rest| rest.starts_with(char::is_numeric));
    !(inside_number || before.ends_with(is_word_character) && from.starts_with(is_word_character))
}

/// Whether `c` beside a match makes it part of a longer word; never in scripts without spaces.
fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() && !is_unspaced(c)
}

/// Length of the mark that ends the sentence, which belongs to the quote; 0 without one.
fn closing_mark_length(rest: &str) -> usize {
    rest.chars()
        .next()
        .filter(|c| ".!?。！？".contains(*c))
        .map_or(0, char::len_utf8)
}

/// `line` without the bullet or number of a list item, or the marks of a heading.
fn without_list_marker(line: &str) -> &str {
    let bare = line.trim_start_matches(['#', '>', '-', '*', '+', '•', ' ', '\t']);
    let digits = bare.len() - bare.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let after = &bare[digits..];
    let numbered = (1..=3).contains(&digits) && (after.starts_with(". ") || after.starts_with(") "));
    if numbered { after[2..].trim_start() } else { bare }
}

#[cfg(test)]
mod tests;
