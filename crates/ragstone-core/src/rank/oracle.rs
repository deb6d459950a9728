//! The recipe's oracle cases, read from beside the repository where they are present.

use std::ops::Range;

use serde_json::Value;

use super::analyzer::{analyze_text, build_bigrams};
use super::bm25::{self, LexicalQuery, TermId, TermStatistics, TermWeights, document_weights};
use super::fusion::{FusionCandidate, RankedHit, fuse_scores};
use super::gate::{WordStatistics, combine_gates, document_gate, query_gate};
use super::late::{self, TokenVectors, maxsim, token_weights};
use super::sentence::{best_sentences, split_sentences};
use super::token_bits::{BitQuery, TokenBits};

/// The recipe's cases under `key`, or `None` with a line on stderr.
fn cases(key: &str) -> Option<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/recipe/cases.json");
    match std::fs::read_to_string(path) {
        Ok(text) => Some(serde_json::from_str::<Value>(&text).unwrap()[key].take()),
        Err(_) => {
            ragstone_testkit::skip_test(
                &format!("the recipe oracle {key:?}"),
                &format!("put the recipe's cases.json at {path}"),
            );
            None
        }
    }
}

/// The cases of a list, none without the file.
fn list(key: &str) -> Vec<Value> {
    let Some(Value::Array(list)) = cases(key) else {
        return Vec::new();
    };
    assert!(!list.is_empty(), "{key} has no case");
    list
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(string).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn counts(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(count).collect()
}

fn matrix(value: &Value, dimensions: usize) -> TokenVectors {
    let values = value
        .as_array()
        .unwrap()
        .iter()
        .flat_map(numbers)
        .map(|value| value as f32)
        .collect();
    TokenVectors::normalized(dimensions, values)
}

/// Row length of a case's two matrices, of which one may be empty.
fn dimensions(case: &Value) -> usize {
    let row = |matrix: &Value| matrix.get(0).map(|row| row.as_array().unwrap().len());
    row(&case["query"]).or(row(&case["document"])).unwrap_or(1)
}

/// Bytes of a range given in code points.
fn bytes(text: &str, range: Range<usize>) -> Range<usize> {
    let offset = |point| text.char_indices().nth(point).map_or(text.len(), |(offset, _)| offset);
    offset(range.start)..offset(range.end)
}

#[track_caller]
fn close(actual: f64, expected: f64, tolerance: f64) {
    assert!(
        (actual - expected).abs() <= tolerance * expected.abs().max(1.0),
        "{actual} is not {expected}"
    );
}

#[test]
fn analyzer() {
    for case in list("analyzer") {
        let terms = analyze_text(string(&case["text"]));
        assert_eq!(terms, strings(&case["tokens"]), "{}", case["text"]);
        if case["bigrams"].is_array() {
            assert_eq!(build_bigrams(&terms), strings(&case["bigrams"]), "{}", case["text"]);
        }
    }
}

/// The statistics themselves need the model's tokenizer and are held by the embedder's tests.
#[test]
fn gates_of_statistics() {
    for case in list("gate") {
        let statistics = WordStatistics {
            fertility: number(&case["fertility"]),
            unknown_share: number(&case["unk_share"]),
            latin_share: number(&case["latin_share"]),
        };
        close(document_gate(statistics), number(&case["g_document"]), 1e-6);
        close(query_gate(statistics), number(&case["g_query"]), 1e-6);
    }
    for case in list("gate_of_query") {
        let g = combine_gates(number(&case["query_gate"]), &numbers(&case["document_gates"]));
        close(g, number(&case["g"]), 1e-6);
    }
}

/// Shares and word counts do not depend on the vocabulary.
#[test]
fn latin_share() {
    struct Whole;
    impl super::gate::WordPieces for Whole {
        fn word_pieces(&self, _: &str) -> Vec<u32> {
            vec![0]
        }
        fn unknown_piece(&self) -> u32 {
            1
        }
    }
    for case in list("gate") {
        let statistics = super::gate::word_statistics(string(&case["text"]), &Whole);
        close(statistics.latin_share, number(&case["latin_share"]), 1e-6);
    }
}

#[test]
fn weights() {
    for case in list("tf_weight") {
        let weight = bm25::tf_weight(number(&case["tf"]), number(&case["length"]), number(&case["average"]));
        close(weight, number(&case["weight"]), 1e-8);
    }
    for case in list("idf") {
        close(
            bm25::idf(case["df"].as_u64().unwrap(), case["n"].as_u64().unwrap()),
            number(&case["idf"]),
            1e-8,
        );
    }
}

#[test]
fn chunk_tokens() {
    for case in list("chunk_tokens") {
        let page = string(&case["page"]);
        let range = bytes(page, count(&case["start"])..count(&case["end"]));
        let tokens = bm25::chunk_tokens(string(&case["name"]), page, range, count(&case["margin"]));
        assert_eq!(tokens, strings(&case["tokens"]));
    }
}

/// Both fields of the toy documents: the title twice in the first, once in the second.
fn toy_fields(toy: &Value) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let documents = toy["documents"].as_array().unwrap();
    let passage = |document: &Value| format!("{} {}", string(&document["title"]), string(&document["text"]));
    let titled = |document: &Value| {
        [
            analyze_text(string(&document["title"])),
            analyze_text(&passage(document)),
        ]
        .concat()
    };
    (
        documents.iter().map(titled).collect(),
        documents
            .iter()
            .map(|document| build_bigrams(&analyze_text(&passage(document))))
            .collect(),
    )
}

fn toy_statistics(field: &[Vec<String>]) -> TermStatistics {
    let mut statistics = TermStatistics {
        documents: field.len() as u64,
        ..TermStatistics::default()
    };
    for (term, _) in field.iter().flat_map(|tokens| document_weights(tokens, 1.0)) {
        *statistics.df.entry(term).or_default() += 1;
    }
    statistics
}

fn toy_weights(field: &[Vec<String>], average: f64) -> Vec<TermWeights> {
    field.iter().map(|tokens| document_weights(tokens, average)).collect()
}

fn check_terms(query: &[(TermId, f64)], expected: &Value, statistics: &TermStatistics) {
    let terms = expected.as_array().unwrap();
    let total: f64 = terms.iter().map(|term| number(&term["idf"])).sum();
    close(query.iter().map(|(_, weight)| weight).sum(), total, 1e-6);
    for term in terms {
        let id = TermId::from_term(string(&term["term"]));
        assert_eq!(
            statistics.df.get(&id).copied().unwrap_or(0),
            term["df"].as_u64().unwrap(),
            "{term}"
        );
        assert!(query.iter().any(|(present, _)| *present == id), "{term}");
    }
}

#[test]
fn toy() {
    let Some(toy) = cases("toy") else { return };
    let (unigrams, pairs) = toy_fields(&toy);
    assert_eq!(
        unigrams.iter().map(Vec::len).collect::<Vec<_>>(),
        counts(&toy["unigram_lengths"])
    );
    let (statistics, pair_statistics) = (toy_statistics(&unigrams), toy_statistics(&pairs));
    let averages = (
        number(&toy["unigram_average_length"]),
        number(&toy["bigram_average_length"]),
    );
    let weights = (toy_weights(&unigrams, averages.0), toy_weights(&pairs, averages.1));
    let fixed = (toy_weights(&unigrams, 80.0), toy_weights(&pairs, 80.0));
    for case in toy["queries"].as_array().unwrap() {
        let pair_df = |term| pair_statistics.df.get(&term).copied().unwrap_or(0);
        let query = LexicalQuery::from_terms(analyze_text(string(&case["query"])), Vec::new(), &statistics, pair_df);
        check_terms(&query.unigrams, &case["terms"], &statistics);
        check_terms(&query.bigrams, &case["bigrams"], &pair_statistics);
        close(query.upper_bound, number(&case["U"]), 1e-6);
        let candidates = toy_candidates(&query, &weights, &numbers(&case["cosine"]));
        for candidate in &candidates {
            close(candidate.unigram, number(&case["B"][candidate.id]), 1e-6);
            close(candidate.bigram, number(&case["B2"][candidate.id]), 1e-6);
            let fused = candidate.fused_score(query.upper_bound, number(&case["g"]));
            close(fused, number(&case["F"][candidate.id]), 1e-6);
        }
        if case["B_average_80"].is_array() {
            for candidate in toy_candidates(&query, &fixed, &numbers(&case["cosine"])) {
                close(candidate.unigram, number(&case["B_average_80"][candidate.id]), 1e-6);
                close(candidate.bigram, number(&case["B2_average_80"][candidate.id]), 1e-6);
            }
        }
        let fused = fuse_scores(&candidates, query.upper_bound, number(&case["g"]));
        let top: Vec<usize> = fused.iter().take(10).map(|hit| hit.id).collect();
        assert_eq!(top, counts(&case["top10"]), "{}", case["query"]);
    }
}

fn toy_candidates(
    query: &LexicalQuery,
    (unigrams, pairs): &(Vec<TermWeights>, Vec<TermWeights>),
    cosines: &[f64],
) -> Vec<FusionCandidate<usize>> {
    let candidate = |id: usize| FusionCandidate {
        id,
        unigram: bm25::lexical_score(&query.unigrams, &unigrams[id]),
        bigram: bm25::lexical_score(&query.bigrams, &pairs[id]),
        cosine: cosines[id],
    };
    (0..cosines.len()).map(candidate).collect()
}

#[test]
fn maxsim_of_floats_and_bits() {
    for case in list("maxsim") {
        let size = dimensions(&case);
        let (query, document) = (matrix(&case["query"], size), matrix(&case["document"], size));
        let weights = token_weights(&numbers(&case["query_idf"]));
        for (weight, expected) in weights.iter().zip(numbers(&case["weights"])) {
            close(*weight, expected, 1e-8);
        }
        close(
            maxsim(&query, &weights, &document, 0..document.len()),
            number(&case["ms"]),
            1e-5,
        );
        let spans: Vec<Range<u32>> = (0..document.len()).map(|_| 0..1).collect();
        let bits = TokenBits::new(&document, &spans, |_| true);
        let stored: Vec<u8> = case["sign_bits"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(counts)
            .map(|byte| byte as u8)
            .collect();
        assert!(bits.to_bytes().ends_with(&stored));
        close(
            BitQuery::new(&query, &weights).maxsim(&bits),
            number(&case["ms_1_bit"]),
            1e-5,
        );
    }
}

#[test]
fn pieces() {
    for case in list("keep_piece") {
        assert_eq!(
            late::keep_piece(string(&case["piece"])),
            case["keep"].as_bool().unwrap(),
            "{case}"
        );
    }
    let Some(case) = cases("wordpiece_idf") else {
        return;
    };
    let documents: Vec<Vec<u32>> = serde_json::from_value(case["ids_of_documents"].clone()).unwrap();
    let distinct: Vec<u32> = documents.iter().flat_map(|ids| late::distinct_pieces(ids)).collect();
    for (id, expected) in case["idf"].as_object().unwrap() {
        let df = distinct.iter().filter(|piece| piece.to_string() == *id).count() as u64;
        close(bm25::idf(df, documents.len() as u64), number(expected), 1e-8);
    }
}

#[test]
fn late_interaction() {
    for case in list("late_interaction") {
        let (scores, maxsims) = (numbers(&case["F"]), numbers(&case["ms"]));
        let order = counts(&case["candidates_in_order_of_F"]);
        let fused: Vec<_> = order.iter().map(|&id| RankedHit { id, score: scores[id] }).collect();
        let reordered = late::late_interaction(fused, number(&case["g"]), |&id| maxsims[id]);
        assert_eq!(
            reordered.iter().map(|hit| hit.id).collect::<Vec<_>>(),
            counts(&case["order"])
        );
        for hit in reordered.iter().take(late::TOP_LATE) {
            close(hit.score, number(&case["S_of_the_first_30"][hit.id.to_string()]), 1e-6);
        }
    }
}

#[test]
fn sentences() {
    for case in list("sentences") {
        let text = string(&case["text"]);
        let spans = case["sentences"].as_array().unwrap().iter().map(counts);
        let expected: Vec<_> = spans.map(|span| bytes(text, span[0]..span[1])).collect();
        assert_eq!(split_sentences(text), expected, "{text}");
    }
}

#[test]
fn sentences_to_quote() {
    for case in list("best_sentences") {
        let text = string(&case["text"]);
        let size = dimensions(&case);
        let (query, document) = (matrix(&case["query"], size), matrix(&case["document"], size));
        let weights = token_weights(&numbers(&case["query_idf"]));
        let offsets = case["offsets"].as_array().unwrap().iter().map(counts);
        let spans: Vec<Range<u32>> = offsets
            .map(|span| bytes(text, span[0]..span[1]))
            .map(|span| span.start as u32..span.end as u32)
            .collect();
        let best = best_sentences(text, &spans, number(&case["passage_score"]), |rows| {
            maxsim(&query, &weights, &document, rows.iter().copied())
        });
        let expected = case["expected"].as_array().unwrap();
        assert_eq!(best.len(), expected.len(), "{text}");
        for (sentence, expected) in best.iter().zip(expected) {
            assert_eq!(
                sentence.range,
                bytes(text, count(&expected["start"])..count(&expected["end"]))
            );
            close(sentence.score, number(&expected["score"]), 1e-5);
        }
    }
}
