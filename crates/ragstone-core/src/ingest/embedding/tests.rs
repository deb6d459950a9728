//! What is embedded again, and what never is.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;
use futures::{FutureExt, poll};

use super::*;
use crate::ingest::JobOutcome;
use crate::library::SearchRequest;
use crate::rank::gate::WordStatistics;
use crate::seam::embedder::{EmbedderFingerprint, TextKind};
use crate::seam::fake::{House, WORKER, WordEmbedder, writer};
use crate::seam::{Catalogue, EmbedError, EmbeddingCache};

/// An embedder that remembers what it embedded, and can be held at a call.
struct Watched {
    words: WordEmbedder,
    calls: AtomicUsize,
    allowed: AtomicUsize,
    seen: Mutex<Vec<String>>,
}

impl Watched {
    fn named(model: &str) -> Arc<Self> {
        Arc::new(Self {
            words: WordEmbedder::named(model),
            calls: AtomicUsize::new(0),
            allowed: AtomicUsize::new(usize::MAX),
            seen: Mutex::default(),
        })
    }

    /// What was embedded since the last time it was asked.
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Holds the calls after the next `calls`.
    fn hold_after(&self, calls: usize) {
        let allowed = self.calls.load(Ordering::Relaxed).saturating_add(calls);
        self.allowed.store(allowed, Ordering::Relaxed);
    }

    fn release(&self) {
        self.allowed.store(usize::MAX, Ordering::Relaxed);
    }
}

#[async_trait]
impl Embedder for Watched {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        self.words.fingerprint()
    }

    async fn embed_texts(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        poll_fn(|context| match call < self.allowed.load(Ordering::Relaxed) {
            true => Poll::Ready(()),
            false => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
        if kind == TextKind::Passage {
            self.seen.lock().unwrap().extend_from_slice(texts);
        }
        self.words.embed_texts(texts, kind).await
    }

    fn word_statistics(&self, text: &str) -> Option<WordStatistics> {
        self.words.word_statistics(text)
    }
}

/// A library whose passages are embedded by `Watched`, by the model of its questions.
fn watched() -> (House, Arc<Watched>) {
    let (house, embedder) = (House::new(), Watched::named("words"));
    house.ingestor.set_pipeline(House::pipeline(embedder.clone()));
    (house, embedder)
}

/// A paragraph that is a chunk of its own.
fn paragraph(word: &str) -> String {
    format!("{word} stands in a paragraph long enough that none beside it fits.")
}

fn story(words: &[&str]) -> String {
    let paragraphs: Vec<String> = words.iter().map(|word| paragraph(word)).collect();
    paragraphs.join("\n\n")
}

const EVERYONE: &[&str] = &["everyone"];
const WORDS: [&str; 7] = ["lamp", "ship", "zebra", "attic", "walnut", "harbour", "violin"];

async fn scores(house: &House, query: &str) -> Vec<(String, f64)> {
    let scope = writer("a", &[]).scope();
    let request = SearchRequest::new(query, 10);
    let found = house.library.search(&scope, &request).await.unwrap();
    let passages = found.passages.iter();
    passages
        .map(|passage| (passage.chunk.text.clone(), passage.score))
        .collect()
}

async fn empty_index(house: &House) {
    for ((document, generation), _) in house.index.list_generations(None).await.unwrap() {
        house.index.delete_generation(document, generation).await.unwrap();
    }
}

#[tokio::test]
async fn of_a_changed_document_only_the_changed_chunks_are_embedded() {
    let ((house, embedder), caller) = (watched(), writer("a", &[]));
    house.ingest(&caller, "x.txt", EVERYONE, &story(&WORDS)).await;
    assert_eq!(embedder.seen(), WORDS.map(paragraph));
    let mut changed = WORDS;
    changed[3] = "cellar";
    house.ingest(&caller, "x.txt", EVERYONE, &story(&changed)).await;
    assert_eq!(embedder.seen(), [paragraph("cellar")]);
    let counts = house.ingestor.documents().embedding_cache_stats();
    assert_eq!((counts.hits(), counts.misses(), counts.errors()), (6, 8, 0));
    assert_eq!(scores(&house, "cellar").await[0].0, paragraph("cellar"));
}

#[tokio::test]
async fn another_document_shares_what_is_the_same_and_another_tenant_nothing() {
    let ((house, embedder), caller) = (watched(), writer("a", &[]));
    house.ingest(&caller, "x.txt", EVERYONE, &story(&WORDS)).await;
    embedder.seen();
    house
        .ingest(&caller, "y.txt", EVERYONE, &story(&["violin", "tower", "lamp"]))
        .await;
    assert_eq!(embedder.seen(), [paragraph("tower")]);
    house
        .ingest(&writer("b", &[]), "x.txt", EVERYONE, &story(&["violin", "lamp"]))
        .await;
    assert_eq!(embedder.seen(), [paragraph("violin"), paragraph("lamp")]);
}

#[tokio::test]
async fn after_a_crash_only_the_rest_is_embedded_and_the_version_is_the_same() {
    let ((undisturbed, _), caller) = (watched(), writer("a", &[]));
    undisturbed.ingest(&caller, "x.txt", EVERYONE, &story(&WORDS)).await;
    let (house, embedder) = watched();
    house.accept(&caller, "x.txt", EVERYONE, &story(&WORDS)).await;
    embedder.hold_after(2);
    let cut_off = house.ingestor.runner().run_next(WORKER).now_or_never();
    assert!(cut_off.is_none(), "it was at the third batch");
    assert_eq!(
        embedder.seen(),
        WORDS[..4].iter().map(|word| paragraph(word)).collect::<Vec<_>>()
    );
    embedder.release();
    house
        .catalogue
        .requeue_interrupted_jobs(house.ingestor.current_moment())
        .await
        .unwrap();
    // A job over which its process died waits.
    house.wait(1);
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert_eq!(
        embedder.seen(),
        WORDS[4..].iter().map(|word| paragraph(word)).collect::<Vec<_>>()
    );
    for query in ["zebra attic", "a lamp in the harbour"] {
        assert_eq!(scores(&house, query).await, scores(&undisturbed, query).await);
    }
    let tenant = caller.tenant();
    let pieces: Vec<u32> = ["lamp", "stand", "paragraph"]
        .map(|term| crate::rank::TermId::from_term(term).0)
        .to_vec();
    let counted = house.catalogue.piece_frequencies(tenant, &pieces).await.unwrap();
    assert_eq!(
        counted,
        undisturbed.catalogue.piece_frequencies(tenant, &pieces).await.unwrap()
    );
    assert_eq!(counted[1], 7);
}

#[tokio::test]
async fn another_model_shares_nothing_and_the_first_one_finds_its_own() {
    let ((house, embedder), caller) = (watched(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", EVERYONE, &story(&WORDS)).await;
    embedder.seen();
    // The index of the house holds one model only.
    empty_index(&house).await;
    let other = Watched::named("other");
    house.ingestor.set_pipeline(House::pipeline(other.clone()));
    house.reingest(&caller, id).await;
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert_eq!(other.seen(), WORDS.map(paragraph));
    empty_index(&house).await;
    house.ingestor.set_pipeline(House::pipeline(embedder.clone()));
    house.reingest(&caller, id).await;
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert_eq!(embedder.seen(), Vec::<String>::new(), "a lost index costs no embedding");
    assert_eq!(scores(&house, "walnut").await[0].0, paragraph("walnut"));
}

#[tokio::test]
async fn a_title_is_part_of_what_is_embedded() {
    let ((house, embedder), caller) = (watched(), writer("a", &[]));
    for title in [None, Some("Inventory"), Some("Inventory")] {
        let bytes = futures::stream::iter([Ok::<_, String>(story(&["lamp"]).into())]);
        let uri = format!("{}.txt", embedder.calls.load(Ordering::Relaxed));
        let upload = crate::ingest::UploadMetadata {
            title: title.map(String::from),
            ..crate::seam::fake::upload(&caller, &uri, EVERYONE)
        };
        house
            .ingestor
            .uploads()
            .accept_upload(&caller, upload, bytes)
            .await
            .unwrap();
        house.work().await;
    }
    let titled = format!("Inventory {}", paragraph("lamp"));
    assert_eq!(embedder.seen(), [paragraph("lamp"), titled]);
}

#[tokio::test]
async fn of_a_deleted_document_nothing_stays_and_another_ones_stays() {
    let ((house, embedder), caller) = (watched(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", EVERYONE, &story(&WORDS)).await;
    house
        .ingest(&caller, "x.txt", EVERYONE, &story(&["tower", "lamp"]))
        .await;
    let other = house
        .ingest(&caller, "y.txt", EVERYONE, &story(&["lamp", "canal"]))
        .await;
    embedder.seen();
    house.delete(&caller, id).await;
    assert_eq!(
        house.embeddings.list_documents().await.unwrap().len(),
        2,
        "until it is purged"
    );
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert_eq!(house.embeddings.list_documents().await.unwrap(), [other]);
    assert_eq!(house.embeddings.len(), 1, "no chunk of an earlier version either");
    house
        .ingest(&caller, "y.txt", EVERYONE, &story(&["canal", "lamp", "zebra"]))
        .await;
    assert_eq!(embedder.seen(), [paragraph("lamp"), paragraph("zebra")]);
}

#[tokio::test]
async fn a_worker_that_outlives_its_document_leaves_nothing() {
    let ((house, embedder), caller) = (watched(), writer("a", &[]));
    house.ingest(&caller, "y.txt", EVERYONE, &story(&["canal"])).await;
    house.accept(&caller, "x.txt", EVERYONE, &story(&WORDS)).await;
    embedder.hold_after(1);
    let mut run = pin!(house.ingestor.runner().run_next(WORKER));
    assert!(poll!(&mut run).is_pending());
    let id = crate::id::DocumentId::from_uri(caller.tenant(), &Default::default(), &Default::default(), "x.txt");
    house.delete(&caller, id).await;
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert_eq!(house.embeddings.len(), 1);
    embedder.release();
    assert!(matches!(run.await, Ok(Some((_, JobOutcome::Stale)))));
    assert_eq!(house.embeddings.len(), 1, "the other document's");
}

#[tokio::test]
async fn a_broken_cache_costs_embeddings_and_holds_up_a_purge_only() {
    let ((house, embedder), caller) = (watched(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", EVERYONE, &story(&WORDS)).await;
    embedder.seen();
    house.embeddings.break_down(true);
    house.ingest(&caller, "y.txt", EVERYONE, &story(&["lamp"])).await;
    assert_eq!(embedder.seen(), [paragraph("lamp")]);
    assert_eq!(
        house.ingestor.documents().embedding_cache_stats().errors(),
        2,
        "one look, one put"
    );
    house.delete(&caller, id).await;
    assert!(matches!(&house.work().await[..], [JobOutcome::Retried(error)] if error.code == "embedding_cache_failed"));
    assert_eq!(scores(&house, "zebra").await.len(), 1, "it answers no more");
    house.embeddings.break_down(false);
    house.wait(1_000);
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert!(house.embeddings.is_empty());
}
