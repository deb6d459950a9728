//! Micro-benchmarks of what core does with text and scores in one ingest and one answer.
//!
//! `cargo bench -p ragstone-core`, with a word behind `--` only those whose name holds it. Times are for comparison on one
//! machine; nothing asserts them. The numbers that later work must keep are in `library/counts.rs`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use ragstone_core::cite::{self, PassageText};
use ragstone_core::rank::analyzer::analyze_text;
use ragstone_core::rank::bm25::sparse_vector;
use ragstone_core::rank::fusion::{
    CANDIDATE_DEPTH, FusionCandidate, fuse_ranked_lists, rank_by_cosine, rank_by_lexical,
};
use ragstone_core::rank::near_duplicate::DuplicateFilter;
use ragstone_core::rank::sentence::best_sentences_by_words;
use ragstone_core::rank::{LexicalQuery, TermStatistics};
use ragstone_core::split::{SplitSettings, split_text};

const SENTENCE: &str =
    "The logger TW-3 measures for 9 days at one reading a minute, unless the probe is covered in dust. ";
const QUESTION: &str = "How long does the TW-3 logger measure on its battery alone?";
/// Sentences of a chunk of the default size.
const CHUNK_SENTENCES: usize = 8;
/// Chunks in the text that is split.
const CHUNKS: usize = 1_000;
/// Passages of an answer.
const PASSAGES: usize = 8;

fn main() {
    divan::main();
}

/// About 800 characters whose numbers differ from those of any other `n`.
fn chunk(n: usize) -> String {
    let sentence = |at: usize| SENTENCE.replace('9', &(n * CHUNK_SENTENCES + at).to_string());
    (0..CHUNK_SENTENCES).map(sentence).collect()
}

fn question() -> LexicalQuery {
    LexicalQuery::new(QUESTION, &TermStatistics::default())
}

#[divan::bench]
fn analyze_chunk(bencher: Bencher) {
    let text = chunk(0);
    let bytes = BytesCount::of_str(&text);
    bencher.counter(bytes).bench(|| analyze_text(black_box(&text)));
}

#[divan::bench]
fn weigh_chunk(bencher: Bencher) {
    let text = chunk(0);
    let bytes = BytesCount::of_str(&text);
    bencher
        .counter(bytes)
        .bench(|| sparse_vector("handbook.pdf", black_box(&text), 0..text.len()));
}

#[divan::bench]
fn split_document(bencher: Bencher) {
    let text: String = (0..CHUNKS).map(chunk).collect();
    let settings = SplitSettings::default();
    let bytes = BytesCount::of_str(&text);
    bencher.counter(bytes).bench(|| split_text(black_box(&text), &settings));
}

#[divan::bench]
fn fuse_both_legs(bencher: Bencher) {
    let score = |n: usize, step: usize| (n * step % 1_009) as f64 / 1_009.0;
    let candidates: Vec<FusionCandidate<u64>> = (0..2 * CANDIDATE_DEPTH)
        .map(|n| FusionCandidate {
            id: n as u64,
            unigram: score(n, 613),
            bigram: score(n, 211),
            cosine: score(n, 389),
        })
        .collect();
    bencher.bench(|| {
        let lexical = rank_by_lexical(black_box(&candidates), 1.0);
        let dense = rank_by_cosine(&candidates);
        fuse_ranked_lists(&candidates, &lexical, &dense, 1.0, 1.0)
    });
}

#[divan::bench]
fn leave_out_copies(bencher: Bencher) {
    let texts: Vec<String> = (0..PASSAGES).map(chunk).collect();
    bencher.bench(|| {
        let mut kept = DuplicateFilter::default();
        texts.iter().filter(|text| kept.keep_if_new(text)).count()
    });
}

#[divan::bench]
fn choose_sentences(bencher: Bencher) {
    let (text, question) = (chunk(0), question());
    bencher.bench(|| best_sentences_by_words(black_box(&text), &question, 1.0));
}

/// One sentence of an answer held against all passages, taken apart before.
#[divan::bench]
fn cite_sentence(bencher: Bencher) {
    let passages: Vec<PassageText> = (0..PASSAGES).map(|n| PassageText::new(chunk(n))).collect();
    let sentence = SENTENCE.replace('9', "12");
    bencher.bench(|| cite::find_best_support(black_box(&sentence), &passages));
}
