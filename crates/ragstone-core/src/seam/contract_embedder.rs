//! Contract of every embedder.

use super::embedder::{EmbedError, Embedder, Embedding, TextKind};

/// Largest distance of a vector's length from 1.
const LENGTH_TOLERANCE: f32 = 1e-3;

/// Smallest cosine between the vectors of one text in two batches: padding and rounding may differ.
const SAME_COSINE: f32 = 0.999;

/// Words of a text that is longer than what any model reads.
const VERY_LONG_WORDS: usize = 60_000;

/// Runs the whole suite.
///
/// # Panics
/// Where the embedder breaks the contract.
pub async fn holds(embedder: &dyn Embedder) {
    none_for_none(embedder).await;
    keeps_order(embedder).await;
    odd_texts_are_embedded_or_refused(embedder).await;
}

async fn none_for_none(embedder: &dyn Embedder) {
    for kind in [TextKind::Query, TextKind::Passage] {
        let none = embedder.embed_texts(&[], kind).await.expect("no text is no work");
        assert!(none.is_empty());
    }
}

async fn keeps_order(embedder: &dyn Embedder) {
    let subjects = [
        "refund window",
        "parking garage",
        "tensile strength",
        "holiday request",
        "espresso machine",
    ];
    let texts: Vec<String> = (0..40).map(|at| format!("{} number {at}", subjects[at % 5])).collect();
    let together = embedder
        .embed_texts(&texts, TextKind::Passage)
        .await
        .expect("plain texts");
    assert_eq!(together.len(), texts.len());
    for (text, embedding) in texts.iter().zip(&together).step_by(7) {
        check(embedder, embedding);
        let alone = embedder
            .embed_texts(std::slice::from_ref(text), TextKind::Passage)
            .await
            .expect("a plain text");
        let cosine: f32 = alone[0].vector.iter().zip(&embedding.vector).map(|(a, b)| a * b).sum();
        assert!(cosine > SAME_COSINE, "{text:?} alone and in a batch: {cosine}");
    }
}

async fn odd_texts_are_embedded_or_refused(embedder: &dyn Embedder) {
    let very_long = "word ".repeat(VERY_LONG_WORDS);
    for text in ["", " ", "\0", "é日本語🦀", very_long.as_str()] {
        match embedder.embed_texts(&[text.to_owned()], TextKind::Passage).await {
            Ok(embeddings) => embeddings.iter().for_each(|embedding| check(embedder, embedding)),
            Err(EmbedError::Refused { detail }) => assert!(!detail.is_empty(), "a refusal says why"),
            Err(error) => panic!("a text of {} bytes is no reason to fail: {error}", text.len()),
        }
    }
}

fn check(embedder: &dyn Embedder, embedding: &Embedding) {
    let dimensions = embedder.fingerprint().dimensions;
    assert_eq!(
        embedding.vector.len(),
        dimensions,
        "a vector is as long as the fingerprint says"
    );
    let length = embedding.vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(
        (length - 1.0).abs() < LENGTH_TOLERANCE,
        "a vector has unit length: {length}"
    );
    if let Some(tokens) = &embedding.tokens {
        assert_eq!(tokens.ids.len(), tokens.spans.len());
        assert_eq!(tokens.ids.len(), tokens.vectors.len());
    }
}
