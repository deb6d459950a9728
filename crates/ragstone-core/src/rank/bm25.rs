//! BM25 split between document and query: a document stores saturated term frequencies, the query adds the idf.
//!
//! Invariant: a document's weights depend on that document alone (the average length is a constant), so they do not
//! change when other documents are added or removed.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::analyzer::{analyze_text, build_bigrams};
use super::identifier::identifier_terms;

/// k1 of BM25: saturation of term frequencies.
pub const K1: f64 = 1.2;
/// b of BM25: strength of length normalisation.
pub const B: f64 = 0.75;
/// Assumed average length of plain texts, in terms.
pub const AVERAGE_PLAIN: f64 = 100.0;
/// Assumed average length of [`chunk_tokens`], in terms.
pub const AVERAGE_WINDOWED: f64 = 300.0;
/// Assumed average number of bigrams of a chunk.
pub const AVERAGE_BIGRAMS: f64 = 80.0;
/// Characters of the page on either side of a chunk that belong to its lexical text.
pub const WINDOW_MARGIN: usize = 400;
/// Assumed document frequency of every bigram: counting them is not worth the storage.
const BIGRAM_DF: u64 = 1;
/// Least value of the upper bound, so that a query without terms does not divide by 0.
const LEAST_UPPER_BOUND: f64 = 1e-9;

/// Id of a term in every index: the first four bytes of BLAKE3 of its UTF-8 form, big endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TermId(pub u32);

impl TermId {
    /// The id of an analyzed term or of a bigram.
    pub fn from_term(term: &str) -> TermId {
        let hash = blake3::hash(term.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        TermId(u32::from_be_bytes([a, b, c, d]))
    }
}

/// Weights of one field in order of id, each id once.
pub type TermWeights = Vec<(TermId, f32)>;

/// The lexical vector of a chunk: document weights, in (0, 1) unless ids collide, in order of id, each id once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    /// Weights of single terms.
    pub unigrams: TermWeights,
    /// Weights of pairs of neighbouring terms.
    pub bigrams: TermWeights,
}

/// Statistics of the library that a query needs: published chunks, and how many of them contain a term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TermStatistics {
    /// Number of published chunks.
    pub documents: u64,
    /// Number of chunks that contain a term; an absent term has 0.
    pub df: HashMap<TermId, u64>,
}

/// The query side of the lexical score.
#[derive(Clone, Debug, PartialEq)]
pub struct LexicalQuery {
    /// idf times repeats of each single term, in order of id.
    pub unigrams: Vec<(TermId, f64)>,
    /// idf times repeats of each pair, in order of id.
    pub bigrams: Vec<(TermId, f64)>,
    /// U: sum of the unigrams' idf, unknown terms and repeats included; the limit for a perfect document. Above 0.
    pub upper_bound: f64,
}

impl LexicalQuery {
    /// Analyzes a question and weighs its terms.
    pub fn new(question: &str, statistics: &TermStatistics) -> LexicalQuery {
        LexicalQuery::from_terms(analyze_text(question), identifier_terms(question), statistics, |_| {
            BIGRAM_DF
        })
    }

    pub(super) fn from_terms(
        mut terms: Vec<String>,
        identifiers: Vec<String>,
        statistics: &TermStatistics,
        bigram_df: impl Fn(TermId) -> u64,
    ) -> LexicalQuery {
        let bigrams = query_weights(&build_bigrams(&terms), statistics.documents, bigram_df);
        terms.extend(identifiers);
        let unigram_df = |term| statistics.df.get(&term).copied().unwrap_or(0);
        let unigrams = query_weights(&terms, statistics.documents, unigram_df);
        let upper_bound = unigrams
            .iter()
            .map(|(_, weight)| weight)
            .sum::<f64>()
            .max(LEAST_UPPER_BOUND);
        LexicalQuery {
            unigrams,
            bigrams,
            upper_bound,
        }
    }

    /// The share of U that the words of a text cover, in [0, 1]: 1 if it has every term of the question.
    pub fn covered_share(&self, text: &str) -> f64 {
        let terms: HashSet<TermId> = question_terms(text).into_iter().collect();
        let covered = self.unigrams.iter().filter(|(term, _)| terms.contains(term));
        covered.map(|(_, weight)| weight).sum::<f64>() / self.upper_bound
    }

    /// Whether no document can match, since the question has only stop words and punctuation.
    pub fn is_empty(&self) -> bool {
        self.unigrams.is_empty()
    }
}

/// The ids of all terms of a question, repeats kept: those whose df [`LexicalQuery::new`] needs.
pub fn question_terms(text: &str) -> Vec<TermId> {
    let terms = analyze_text(text).into_iter().chain(identifier_terms(text));
    terms.map(|term| TermId::from_term(&term)).collect()
}

/// B of a document's unigrams, B2 of its bigrams: Σ over the query's terms of idf times document weight.
pub fn lexical_score(query: &[(TermId, f64)], document: &[(TermId, f32)]) -> f64 {
    let weight = |term: &TermId| match document.binary_search_by_key(term, |entry| entry.0) {
        Ok(position) => f64::from(document[position].1),
        Err(_) => 0.0,
    };
    query.iter().map(|(term, idf)| idf * weight(term)).sum()
}

/// Inverse document frequency: ln(1 + (N − df + ½)/(df + ½)), above 0; a term that no document contains has df 0.
pub fn idf(df: u64, documents: u64) -> f64 {
    let (df, documents) = (df as f64, documents as f64);
    (1.0 + (documents - df + 0.5) / (df + 0.5)).ln()
}

/// Document weight of a term: tf/(tf + k1 (1 − b + b length/average)), in (0, 1); without the factor k1 + 1.
pub fn tf_weight(tf: f64, length: f64, average: f64) -> f64 {
    tf / (tf + K1 * (1.0 - B + B * length / average))
}

/// The sparse vector of the chunk `page_text[range]` (bytes) of a document called `name` (its title or file name).
/// Terms come from the name, the chunk and the page around it, pairs from name and chunk alone; identifiers are added
/// as further terms.
///
/// # Panics
/// If `range` is not on character boundaries inside the page.
pub fn sparse_vector(name: &str, page_text: &str, range: Range<usize>) -> SparseVector {
    let named = prepend_name(name, &page_text[range.clone()]);
    let chunk = analyze_text(&named);
    let pairs = build_bigrams(&chunk);
    let around = widen_range(page_text, range.clone(), WINDOW_MARGIN);
    let mut tokens = window_tokens(chunk, page_text, range, WINDOW_MARGIN);
    let length = tokens.len() as f64;
    let own = identifier_terms(&named);
    tokens.extend([own.clone(), own, identifier_terms(&page_text[around])].concat());
    SparseVector {
        unigrams: weights_at(&tokens, length, AVERAGE_WINDOWED),
        bigrams: document_weights(&pairs, AVERAGE_BIGRAMS),
    }
}

/// The sparse vector of a text that is not part of a longer one: the title counts twice, in pairs once. Its weights are
/// not on the scale of [`sparse_vector`], so an index must contain only one of the two forms.
pub fn plain_vector(title: &str, text: &str) -> SparseVector {
    let passage = analyze_text(&prepend_name(title, text));
    let pairs = build_bigrams(&passage);
    let mut tokens = [analyze_text(title), passage].concat();
    let length = tokens.len() as f64;
    tokens.extend([identifier_terms(title), identifier_terms(title), identifier_terms(text)].concat());
    SparseVector {
        unigrams: weights_at(&tokens, length, AVERAGE_PLAIN),
        bigrams: document_weights(&pairs, AVERAGE_BIGRAMS),
    }
}

/// Lexical terms of the chunk `page_text[range]` (bytes): name and chunk twice, then the page from `margin` characters
/// before the chunk to `margin` after it.
///
/// # Panics
/// If `range` is not on character boundaries inside the page.
pub fn chunk_tokens(name: &str, page_text: &str, range: Range<usize>, margin: usize) -> Vec<String> {
    window_tokens(
        analyze_text(&prepend_name(name, &page_text[range.clone()])),
        page_text,
        range,
        margin,
    )
}

/// Document weights of analyzed tokens, in order of id; weights of equal ids are added.
pub fn document_weights(tokens: &[String], average: f64) -> TermWeights {
    weights_at(tokens, tokens.len() as f64, average)
}

/// [`document_weights`] with a given `length`: identifiers repeat words of the text and must not make it longer.
fn weights_at(tokens: &[String], length: f64, average: f64) -> TermWeights {
    let weigh = |repeats: u32| tf_weight(f64::from(repeats), length, average);
    let weights = weights_by_id(tokens, |_, repeats| weigh(repeats));
    weights
        .into_iter()
        .map(|(term, weight)| (term, weight as f32))
        .collect()
}

fn prepend_name(name: &str, chunk: &str) -> String {
    format!("{name} {chunk}")
}

fn window_tokens(mut tokens: Vec<String>, page_text: &str, range: Range<usize>, margin: usize) -> Vec<String> {
    tokens.extend_from_within(..);
    tokens.extend(analyze_text(&page_text[widen_range(page_text, range, margin)]));
    tokens
}

/// The byte range extended by `margin` characters on both sides, within the text.
fn widen_range(text: &str, range: Range<usize>, margin: usize) -> Range<usize> {
    let before = text[..range.start].char_indices().rev().take(margin).last();
    let after = text[range.end..].char_indices().nth(margin);
    before.map_or(range.start, |(start, _)| start)..after.map_or(text.len(), |(length, _)| range.end + length)
}

/// Query weights: idf times repeats. A df above N counts as N, since statistics are updated with a delay.
fn query_weights(terms: &[String], documents: u64, df: impl Fn(TermId) -> u64) -> Vec<(TermId, f64)> {
    weights_by_id(terms, |term, repeats| {
        f64::from(repeats) * idf(df(term).min(documents), documents)
    })
}

/// Weighs each distinct term by its repeats; in order of id, equal ids summed.
fn weights_by_id(terms: &[String], weigh: impl Fn(TermId, u32) -> f64) -> Vec<(TermId, f64)> {
    let mut sorted: Vec<&str> = terms.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut weights: Vec<(TermId, f64)> = sorted
        .chunk_by(|a, b| a == b)
        .map(|equal| {
            let id = TermId::from_term(equal[0]);
            (id, weigh(id, u32::try_from(equal.len()).unwrap_or(u32::MAX)))
        })
        .collect();
    weights.sort_by_key(|(id, _)| *id);
    weights.dedup_by(|later, kept| {
        later.0 == kept.0 && {
            kept.1 += later.1;
            true
        }
    });
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(documents: u64, df: &[(&str, u64)]) -> TermStatistics {
        TermStatistics {
            documents,
            df: df.iter().map(|(term, df)| (TermId::from_term(term), *df)).collect(),
        }
    }

    #[test]
    fn term_ids_are_the_first_bytes_of_blake3() {
        let hash = blake3::hash(b"norman");
        assert_eq!(TermId::from_term("norman").0.to_be_bytes(), hash.as_bytes()[..4]);
    }

    #[test]
    fn the_window_counts_characters_and_stops_at_the_page() {
        let page = "äöü chunk ßéè";
        let start = page.find("chunk").unwrap();
        let range = start..start + "chunk".len();
        assert_eq!(&page[widen_range(page, range.clone(), 2)], "ü chunk ß");
        assert_eq!(&page[widen_range(page, range.clone(), 0)], "chunk");
        assert_eq!(&page[widen_range(page, range, 99)], page);
    }

    #[test]
    fn name_and_chunk_count_three_and_two_times() {
        let page = "north fox south";
        assert_eq!(
            chunk_tokens("den", page, 6..9, 400),
            ["den", "fox", "den", "fox", "north", "fox", "south"]
        );
        assert_eq!(chunk_tokens("den", page, 6..9, 1), ["den", "fox", "den", "fox", "fox"]);
    }

    #[test]
    fn vectors_are_sorted_and_scored_by_the_query() {
        let vector = sparse_vector("", "fox den fox", 0..11);
        assert!(vector.unigrams.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(vector.bigrams.len(), 2);
        let query = LexicalQuery::new("the fox, a fox", &statistics(10, &[("fox", 2)]));
        assert_eq!(query.unigrams.len(), 1);
        assert!((query.upper_bound - 2.0 * idf(2, 10)).abs() < 1e-12);
        let expected = 2.0 * idf(2, 10) * tf_weight(6.0, 9.0, AVERAGE_WINDOWED);
        assert!((lexical_score(&query.unigrams, &vector.unigrams) - expected).abs() < 1e-6);
        assert_eq!(lexical_score(&query.bigrams, &vector.bigrams), 0.0);
    }

    #[test]
    fn a_title_counts_twice_in_terms_and_once_in_pairs() {
        let vector = plain_vector("fox", "den");
        let weight = |term: &str| lexical_score(&[(TermId::from_term(term), 1.0)], &vector.unigrams);
        assert!((weight("fox") - tf_weight(2.0, 3.0, AVERAGE_PLAIN)).abs() < 1e-6);
        assert!((weight("den") - tf_weight(1.0, 3.0, AVERAGE_PLAIN)).abs() < 1e-6);
        assert_eq!(
            vector.bigrams,
            [(
                TermId::from_term("fox_den"),
                tf_weight(1.0, 1.0, AVERAGE_BIGRAMS) as f32
            )]
        );
    }

    #[test]
    fn an_empty_or_unknown_question_has_a_bound() {
        let empty = LexicalQuery::new("the of", &statistics(10, &[]));
        assert!(empty.is_empty() && empty.upper_bound == LEAST_UPPER_BOUND);
        let unknown = LexicalQuery::new("zebra crossing", &statistics(0, &[("zebra", 5)]));
        assert!(unknown.upper_bound > 0.0 && unknown.bigrams.iter().all(|(_, idf)| *idf > 0.0));
    }

    #[test]
    fn equal_ids_are_summed() {
        let terms = ["a", "b", "a"].map(String::from);
        let total: f64 = weights_by_id(&terms, |_, repeats| f64::from(repeats))
            .iter()
            .map(|(_, weight)| weight)
            .sum();
        assert_eq!(total, 3.0);
    }
}
