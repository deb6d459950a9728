//! An embedder that counts words: texts that share words are near.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::lock;
use crate::rank::analyzer::analyze_text;
use crate::rank::bm25::TermId;
use crate::rank::gate::WordStatistics;
use crate::rank::late::TokenVectors;
use crate::seam::embedder::{EmbedError, EmbeddedTokens, Embedder, EmbedderFingerprint, Embedding, TextKind};

/// Length of its vectors.
pub const DIMENSIONS: usize = 32;

/// Counts words, and fails as often as it is told.
#[derive(Debug)]
pub struct WordEmbedder {
    fingerprint: EmbedderFingerprint,
    failures: Mutex<Vec<EmbedError>>,
    hangs: AtomicBool,
}

impl Default for WordEmbedder {
    fn default() -> Self {
        Self::named("words")
    }
}

impl WordEmbedder {
    /// An embedder whose model is called `model`.
    pub fn named(model: &str) -> Self {
        let fingerprint = EmbedderFingerprint {
            model: model.into(),
            revision: String::new(),
            dimensions: DIMENSIONS,
            pooling: "mean".into(),
            query_prefix: String::new(),
            passage_prefix: String::new(),
        };
        Self {
            fingerprint,
            failures: Mutex::default(),
            hangs: AtomicBool::default(),
        }
    }

    /// Whether the next calls never end.
    pub fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Relaxed);
    }

    /// Fails the next calls with these errors, the last one first.
    pub fn fail_with(&self, errors: Vec<EmbedError>) {
        *lock(&self.failures) = errors;
    }
}

#[async_trait]
impl Embedder for WordEmbedder {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        &self.fingerprint
    }

    async fn embed_texts(&self, texts: &[String], _: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match lock(&self.failures).pop() {
            Some(error) => Err(error),
            None => Ok(texts.iter().map(|text| embedding(text)).collect()),
        }
    }

    fn word_statistics(&self, _: &str) -> Option<WordStatistics> {
        None
    }
}

fn embedding(text: &str) -> Embedding {
    let mut tokens = EmbeddedTokens {
        ids: Vec::new(),
        pieces: Vec::new(),
        spans: Vec::new(),
        vectors: TokenVectors::normalized(DIMENSIONS, Vec::new()),
    };
    let (mut sum, mut rows) = (vec![1e-3_f32; DIMENSIONS], Vec::new());
    for word in text.split_whitespace() {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        for term in analyze_text(word) {
            let id = TermId::from_term(&term).0;
            let mut row = vec![0.0; DIMENSIONS];
            row[id as usize % DIMENSIONS] = 1.0;
            sum.iter_mut().zip(&row).for_each(|(sum, value)| *sum += value);
            rows.extend(row);
            tokens.ids.push(id);
            tokens.pieces.push(term);
            tokens.spans.push(start as u32..(start + word.len()) as u32);
        }
    }
    tokens.vectors = TokenVectors::normalized(DIMENSIONS, rows);
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    Embedding {
        vector: sum.into_iter().map(|value| value / length).collect(),
        tokens: Some(tokens),
    }
}
