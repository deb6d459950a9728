//! The chat model without a language model: it quotes the best one or two sentences of the passages.
//!
//! Invariant: every word of its output comes from a passage, and the quoted span is given with it.

use std::ops::Range;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use ragstone_core::access::Admitted;
use ragstone_core::cite;
use ragstone_core::library::Passage;
use ragstone_core::prompt::NO_ANSWER;
use ragstone_core::seam::chat::{ChatDescription, ChatEvent, ChatRequest, FinishReason, TokenUsage};
use ragstone_core::seam::{ChatError, ChatModel};

/// A second sentence is quoted if its score is at least this share of the best one's: below it, it is more often off
/// topic than part of the answer.
const SECOND_QUOTE_SHARE: f64 = 0.8;

/// Penalty per rank of a passage if sentences have no model scores: of two sentences that share as many words with the
/// question, the one in the better passage is quoted.
const RANK_PENALTY: f64 = 0.01;

/// Extractive chat model; no text leaves the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtractiveChat;

#[async_trait]
impl ChatModel for ExtractiveChat {
    fn model_description(&self) -> ChatDescription {
        ChatDescription {
            model: "extractive".into(),
            endpoint: None,
            quotes_sentences: true,
            context_tokens: usize::MAX,
        }
    }

    async fn stream_reply(
        &self,
        request: ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatEvent, ChatError>>, ChatError> {
        let chosen = choose_sentences(&request);
        let mut events = Vec::new();
        for (number, candidate) in chosen.iter().enumerate() {
            let space = if number > 0 { " " } else { "" };
            events.push(ChatEvent::Delta(format!("{space}{}", candidate.text)));
            events.push(ChatEvent::Quote {
                passage: candidate.passage + 1,
                range: candidate.range.clone(),
            });
        }
        events.push(ChatEvent::Usage(TokenUsage::default()));
        if chosen.is_empty() {
            events.insert(0, ChatEvent::Delta(NO_ANSWER.to_owned()));
            events.push(ChatEvent::End(FinishReason::NoAnswer));
        } else {
            events.push(ChatEvent::End(FinishReason::Stop));
        }
        Ok(stream::iter(events.into_iter().map(Ok)).boxed())
    }
}

/// A sentence that could be quoted.
#[derive(Debug, Clone, PartialEq)]
struct SentenceCandidate {
    passage: usize,
    range: Range<usize>,
    /// The sentence with white space collapsed: line breaks of a page are not line breaks of an answer.
    text: String,
    score: f64,
}

/// Chooses the best sentence, and the next best if its score is close.
fn choose_sentences(request: &ChatRequest) -> Vec<SentenceCandidate> {
    let mut candidates = collect_candidates(request);
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    // A question in the text repeats the user's question and answers nothing.
    let tells = candidates.iter().any(|candidate| !is_question(candidate));
    candidates.retain(|candidate| !tells || !is_question(candidate));
    let Some(best) = candidates.first().cloned() else {
        return Vec::new();
    };
    let second = candidates[1..]
        .iter()
        .find(|other| other.score >= SECOND_QUOTE_SHARE * best.score && !is_duplicate(other, &best))
        .cloned();
    [Some(best), second].into_iter().flatten().collect()
}

fn collect_candidates(request: &ChatRequest) -> Vec<SentenceCandidate> {
    let scored = request.passages.iter().any(|passage| !passage.sentences.is_empty());
    let sentences = request.passages.iter().enumerate().flat_map(|(at, passage)| {
        let sentences = if scored {
            given_sentence_scores(passage)
        } else {
            score_by_overlap(&request.question, at, passage)
        };
        sentences
            .into_iter()
            .filter_map(move |(range, score)| build_candidate(at, passage, range, score))
    });
    sentences.filter(|candidate| candidate.score > 0.0).collect()
}

fn given_sentence_scores(passage: &Passage) -> Vec<(Range<usize>, f64)> {
    passage
        .sentences
        .iter()
        .map(|sentence| (sentence.range.clone(), sentence.score))
        .collect()
}

fn score_by_overlap(question: &str, at: usize, passage: &Admitted<Passage>) -> Vec<(Range<usize>, f64)> {
    let text = &passage.chunk.text;
    let score = |range: &Range<usize>| match cite::term_overlap(question, &text[range.clone()]) {
        share if share > 0.0 => (share - RANK_PENALTY * at as f64).max(f64::MIN_POSITIVE),
        _ => 0.0,
    };
    cite::sentence_ranges(text)
        .into_iter()
        .map(|range| (range.clone(), score(&range)))
        .collect()
}

/// The sentence without surrounding white space; `None` if it is empty.
fn build_candidate(passage: usize, from: &Passage, range: Range<usize>, score: f64) -> Option<SentenceCandidate> {
    let sentence = from.chunk.text.get(range.clone())?;
    let start = range.start + sentence.len() - sentence.trim_start().len();
    let range = start..start + sentence.trim().len();
    let text = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(SentenceCandidate {
        passage,
        range,
        text,
        score,
    })
}

fn is_question(candidate: &SentenceCandidate) -> bool {
    candidate.text.ends_with(['?', '？'])
}

/// Whether both overlap in the same passage, or have the same text.
fn is_duplicate(one: &SentenceCandidate, other: &SentenceCandidate) -> bool {
    let overlap =
        one.passage == other.passage && one.range.start < other.range.end && other.range.start < one.range.end;
    overlap || one.text == other.text
}
