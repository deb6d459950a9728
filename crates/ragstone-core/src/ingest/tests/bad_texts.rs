//! Texts that an embedder cannot embed, or not whole, and chunks that are longer than what it reads.

use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::ingest::vector_report::{PARTIAL_VECTORS, WITHOUT_VECTORS};
use crate::rank::gate::WordStatistics;
use crate::seam::Embedder;
use crate::seam::embedder::{EmbedderFingerprint, Embedding, PassageEmbedding, TextKind};
use crate::seam::fake::WordEmbedder;

const EVERYONE: &[&str] = &["everyone"];

/// An embedder that gives no vector to texts about zebras, and only the beginning's to texts about attics.
struct Picky {
    words: WordEmbedder,
    most_characters: usize,
}

impl Picky {
    fn new(most_characters: usize) -> Arc<Self> {
        Arc::new(Self {
            words: WordEmbedder::default(),
            most_characters,
        })
    }
}

#[async_trait]
impl Embedder for Picky {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        self.words.fingerprint()
    }

    async fn embed_texts(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        self.words.embed_texts(texts, kind).await
    }

    async fn embed_passages(&self, texts: &[String]) -> Result<Vec<PassageEmbedding>, EmbedError> {
        let made = self.words.embed_texts(texts, TextKind::Passage).await?;
        let picked = texts.iter().zip(made).map(|(text, embedding)| match text {
            text if text.contains("zebra") => PassageEmbedding::None("500: it is striped".into()),
            text if text.contains("attic") => PassageEmbedding::Truncated(embedding),
            _ => PassageEmbedding::Full(embedding),
        });
        Ok(picked.collect())
    }

    fn fits_input_limit(&self, text: &str) -> bool {
        text.chars().count() <= self.most_characters
    }

    fn word_statistics(&self, _: &str) -> Option<WordStatistics> {
        None
    }
}

/// A paragraph for each word, a chunk of its own that shares no word with another one.
fn story(words: &[&str]) -> String {
    let others = ["one", "two", "six", "ten", "red", "hot", "icy", "dry"];
    let paragraph = |word: &&str| {
        let beside: String = others.iter().map(|other| format!(" {other}{word}")).collect();
        format!("{word}{beside}")
    };
    words.iter().map(paragraph).collect::<Vec<_>>().join("\n\n")
}

fn house(embedder: Arc<Picky>) -> House {
    let house = House::new();
    house.ingestor.set_pipeline(House::pipeline(embedder));
    house
}

fn codes(document: &Document) -> Vec<&str> {
    document.warnings.iter().map(|warning| warning.code.as_str()).collect()
}

#[tokio::test]
async fn a_text_without_a_vector_is_found_by_its_words_and_told_of() {
    let (house, caller) = (house(Picky::new(usize::MAX)), writer("a", &[]));
    let id = house
        .ingest(&caller, "x.txt", EVERYONE, &story(&["lamp", "zebra", "attic", "ship"]))
        .await;
    let published = document(&house, &caller, id).await.unwrap();
    assert_eq!((published.status, published.chunks), (DocumentStatus::Published, 4));
    assert_eq!(codes(&published), [WITHOUT_VECTORS, PARTIAL_VECTORS]);
    assert!(published.warnings[0].detail.contains("1 of 4") && published.warnings[0].detail.contains("striped"));
    for word in ["zebra", "attic", "ship"] {
        let found = finds(&house, &caller, word).await;
        assert!(found.iter().any(|text| text.starts_with(word)), "{word}: {found:?}");
    }
    let caller_b = writer("a", &[]);
    let other = house
        .ingest(&caller_b, "y.txt", EVERYONE, &story(&["lamp", "ship"]))
        .await;
    assert!(codes(&document(&house, &caller, other).await.unwrap()).is_empty());
}

#[tokio::test]
async fn what_is_made_again_is_told_of_again_and_a_mended_service_heals_it() {
    let (house, caller) = (house(Picky::new(usize::MAX)), writer("a", &[]));
    let id = house
        .ingest(&caller, "x.txt", EVERYONE, &story(&["lamp", "zebra", "attic"]))
        .await;
    house.reingest(&caller, id).await;
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    let again = document(&house, &caller, id).await.unwrap();
    assert_eq!(
        codes(&again),
        [WITHOUT_VECTORS, PARTIAL_VECTORS],
        "the cache holds no half truths"
    );
    let mended: Arc<dyn Embedder> = house.embedder.clone();
    house.ingestor.set_pipeline(House::pipeline(mended));
    house.reingest(&caller, id).await;
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert!(codes(&document(&house, &caller, id).await.unwrap()).is_empty());
}

#[tokio::test]
async fn chunks_are_no_longer_than_what_the_embedder_reads() {
    let (house, caller) = (house(Picky::new(40)), writer("a", &[]));
    let id = house
        .ingest(&caller, "x.txt", EVERYONE, &story(&["lamp", "ship"]))
        .await;
    let published = document(&house, &caller, id).await.unwrap();
    assert!(published.chunks > 2, "{}", published.chunks);
    for word in ["lamp", "ship"] {
        let found = finds(&house, &caller, word).await;
        assert!(found.iter().any(|text| text.starts_with(word)), "{found:?}");
        assert!(found.iter().all(|text| text.chars().count() <= 40), "{found:?}");
    }
}
