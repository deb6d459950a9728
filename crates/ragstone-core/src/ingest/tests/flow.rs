//! How text flows: what overlaps, what waits, and what the ledger says meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::super::batch::{EMBEDDING_BATCHES, WAITING_BATCHES};
use super::*;
use crate::document::{Job, JobStage, ParsedDocument};
use crate::library::text::{StoredText, TextWriter, original_key, text_key};
use crate::rank::gate::WordStatistics;
use crate::seam::catalogue::PageRequest;
use crate::seam::embedder::{EmbedderFingerprint, Embedding, TextKind};
use crate::seam::fake::WordEmbedder;
use crate::seam::{Catalogue, Embedder, VectorIndex};
use crate::split::split_document;

/// Chunks of a batch of [`House`].
const BATCH: u64 = 2;
/// Most batches that are embedded or being embedded and not stored: at the embedder's door, waiting, in the sender's
/// hand, and the one being stored.
const MOST_AHEAD: u64 = (EMBEDDING_BATCHES + WAITING_BATCHES) as u64 + 2;
/// Turns given to the others before a test is lost.
const PATIENCE: usize = 10_000;

/// An embedder that waits for what should go on beside it, and watches.
struct Watcher {
    words: WordEmbedder,
    index: Arc<dyn VectorIndex>,
    catalogue: Arc<dyn Catalogue>,
    caller: Principal,
    calls: AtomicUsize,
    progress: Mutex<Vec<(JobStage, u64, u64)>>,
}

impl Watcher {
    async fn job(&self) -> Job {
        let page = PageRequest { limit: 1, cursor: None };
        let jobs = self
            .catalogue
            .list_jobs(&self.caller.scope(), &Default::default(), &page)
            .await;
        jobs.unwrap().items.remove(0)
    }

    /// Waits until so many batches were brought here and so many chunks are stored, which needs the others to go on.
    async fn until(&self, calls: usize, chunks: u64) {
        for _ in 0..PATIENCE {
            if self.calls.load(Ordering::SeqCst) >= calls && self.index.count_points().await.unwrap() >= chunks {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("nothing goes on beside embedding");
    }
}

#[async_trait]
impl Embedder for Watcher {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        self.words.fingerprint()
    }

    async fn embed_texts(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) as u64;
        let stored = self.index.count_points().await.unwrap() / BATCH;
        assert!(
            call < stored + MOST_AHEAD,
            "call {call} while {stored} batches are stored"
        );
        let job = self.job().await;
        self.progress.lock().unwrap().push((job.stage, job.done, job.total));
        match call {
            0 => self.until(2, 0).await,
            3 => self.until(4, BATCH).await,
            _ => {}
        }
        self.words.embed_texts(texts, kind).await
    }

    fn word_statistics(&self, text: &str) -> Option<WordStatistics> {
        self.words.word_statistics(text)
    }
}

#[tokio::test]
async fn batches_are_read_embedded_and_stored_beside_one_another_and_few_at_a_time() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let watcher = Arc::new(Watcher {
        words: WordEmbedder::default(),
        index: house.index.clone(),
        catalogue: house.catalogue.clone(),
        caller: caller.clone(),
        calls: AtomicUsize::new(0),
        progress: Mutex::default(),
    });
    house.ingestor.set_pipeline(House::pipeline(watcher.clone()));
    let pages: String = (0..30).map(|n| format!("Page {n} tells of ship {n}.\x0c")).collect();
    let id = house.ingest(&caller, "x.txt", &["everyone"], &pages).await;
    assert_eq!(document(&house, &caller, id).await.unwrap().chunks, 30);
    let progress = watcher.progress.lock().unwrap();
    assert_eq!(progress.len(), 15);
    assert!(progress.is_sorted(), "{progress:?}");
    assert!(
        progress
            .iter()
            .all(|(stage, _, total)| *stage == JobStage::Embed && *total == 30)
    );
}

/// The chunks of a document as they are stored.
async fn chunks(house: &House, caller: &Principal, id: DocumentId) -> Vec<crate::document::Chunk> {
    let page = PageRequest {
        limit: 10_000,
        cursor: None,
    };
    let found = house
        .library
        .list_chunks(&caller.scope(), id, &page)
        .await
        .unwrap()
        .unwrap();
    found.items.iter().map(|chunk| (**chunk).clone()).collect()
}

#[tokio::test]
async fn chunks_are_those_of_the_whole_text() {
    let long = "A sentence about the lamp, the table and the ship. ".repeat(2_000);
    for pages in [
        vec!["One page.".to_owned()],
        vec!["".into(), " \n".into(), "After white space.".into()],
        vec!["Short.".into(), long.clone(), "Ünïcödé ends it.".into()],
        (0..300).map(|n| format!("Page {n}. {}", &long[..n * 3])).collect(),
    ] {
        let (house, caller) = (House::new(), writer("a", &[]));
        let text: String = pages.iter().map(|page| format!("{page}\x0c")).collect();
        let id = house.ingest(&caller, "x.txt", &["everyone"], &text).await;
        let mut whole = ParsedDocument::default();
        for (number, page) in (1..).zip(text.split_inclusive('\x0c')) {
            let start = whole.text.len();
            whole.text.push_str(page);
            let range = start..whole.text.len();
            whole.pages.push(crate::document::PageSpan {
                page: Some(number),
                range,
            });
        }
        let split = house.ingestor.pipeline().split_settings_for("text/plain");
        let expected = split_document(&whole, &split);
        let found = chunks(&house, &caller, id).await;
        assert_eq!(found.len(), expected.len());
        for (ordinal, (found, expected)) in (0..).zip(found.iter().zip(&expected)) {
            assert_eq!(found.ordinal, ordinal);
            assert_eq!((&found.text, &found.range), (&expected.text, &expected.range));
            assert_eq!((found.page, &found.section), (expected.page, &expected.section));
        }
    }
}

/// Ingests, spoils the stored text or not, and makes a new version of the same bytes.
async fn again(spoil: bool) -> (House, Principal, DocumentId) {
    let (house, caller) = (House::new(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", &["everyone"], STORY).await;
    let published = document(&house, &caller, id).await.unwrap().published.unwrap();
    let key = text_key(caller.tenant(), id, published);
    if spoil {
        house.blobs.put(&key, "no text of ours".into()).await.unwrap();
    } else {
        let mut writer = TextWriter::new(house.blobs.as_ref(), key).unwrap();
        writer
            .write_page(Some(1), "An earlier text of the same parser.")
            .await
            .unwrap();
        writer
            .finish("text/1", "text/plain".into(), Default::default())
            .await
            .unwrap();
    }
    let embedder: Arc<dyn Embedder> = house.embedder.clone();
    let other = IngestPipeline::new(
        "text/1",
        SplitSettings::default(),
        SplitStrategy::Recursive,
        Some(embedder),
    );
    house.ingestor.set_pipeline(other);
    house.reingest(&caller, id).await;
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    (house, caller, id)
}

#[tokio::test]
async fn text_of_the_same_parser_and_bytes_is_taken_over_and_spoilt_text_is_not() {
    let (house, caller, id) = again(false).await;
    assert_eq!(
        chunks(&house, &caller, id).await[0].text,
        "An earlier text of the same parser."
    );
    let (house, caller, id) = again(true).await;
    assert!(chunks(&house, &caller, id).await[0].text.starts_with("The lamp"));
    let generation = document(&house, &caller, id).await.unwrap().published.unwrap();
    let key = text_key(caller.tenant(), id, generation);
    let stored = StoredText::open_text(house.blobs.as_ref(), key).await.unwrap();
    assert_eq!(stored.pages().len(), 2);
    let original = original_key(caller.tenant(), id, generation);
    assert!(house.blobs.head(&original).await.is_ok());
}

#[tokio::test]
async fn a_text_without_words_is_not_stored() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", &["everyone"], " \x0c \n").await;
    let failed = document(&house, &caller, id).await.unwrap();
    assert_eq!(failed.last_error.unwrap().code, "no_text");
    assert_eq!(house.blob_count().await, 1, "the original alone");
}
