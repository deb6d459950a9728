//! What one short document costs the embedded stores: commits, syncs of the disk and requests to the embedder, as numbers.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::join_all;
use object_store::memory::InMemory;
use ragstone_adapters::catalogue::sqlite::SqliteCatalogue;
use ragstone_adapters::embed::BatchingEmbedder;
use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::{CommitCounts, Durability, SqliteDatabase, SqliteError};
use ragstone_core::document::WorkerId;
use ragstone_core::ingest::{IngestPipeline, IngestSettings, IngestStores, Ingestor, JobOutcome, TimeProvider};
use ragstone_core::rank::gate::WordStatistics;
use ragstone_core::seam::embedder::{EmbedError, EmbedderFingerprint, Embedding, TextKind};
use ragstone_core::seam::fake::{TextParser, upload, writer};
use ragstone_core::seam::{DocumentParser, Embedder};
use ragstone_core::split::{SplitSettings, SplitStrategy};
use time::OffsetDateTime;
use uuid::Uuid;

/// Commits that wait for the disk: begun, claimed, stored, published.
const SYNCED: u64 = 4;
/// Besides: seven notes of progress, the points, and that they are seen.
const ORDERED: u64 = 9;

/// Counts its requests.
struct Constant {
    fingerprint: EmbedderFingerprint,
    requests: AtomicUsize,
    /// How long a request takes.
    pause: Duration,
}

#[async_trait]
impl Embedder for Constant {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        &self.fingerprint
    }

    async fn embed_texts(&self, texts: &[String], _: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.pause).await;
        let constant = |_: &String| Embedding {
            vector: vec![1.0],
            tokens: None,
        };
        Ok(texts.iter().map(constant).collect())
    }

    fn word_statistics(&self, _: &str) -> Option<WordStatistics> {
        None
    }
}

struct Scene {
    database: SqliteDatabase,
    embedder: Arc<Constant>,
    ingestor: Ingestor,
    _folder: tempfile::TempDir,
}

/// Documents are taken in by an embedder whose requests take `pause`.
fn scene(pause: Duration) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let database = SqliteDatabase::open(&folder.path().join("ragstone.db")).unwrap();
    let embedder = Arc::new(Constant {
        fingerprint: EmbedderFingerprint {
            model: "constant".into(),
            revision: String::new(),
            dimensions: 1,
            pooling: String::new(),
            query_prefix: String::new(),
            passage_prefix: String::new(),
        },
        requests: AtomicUsize::new(0),
        pause,
    });
    let stores = IngestStores {
        catalogue: Arc::new(SqliteCatalogue::open(database.clone()).unwrap()),
        index: Arc::new(EmbeddedIndex::open(database.clone()).unwrap()),
        blobs: Arc::new(InMemory::new()),
        parser: Arc::new(TextParser),
        embeddings: None,
    };
    let gathering = BatchingEmbedder::new(embedder.clone(), 64, 1);
    let pipeline = IngestPipeline::new(
        TextParser.fingerprint(),
        SplitSettings::default(),
        SplitStrategy::Recursive,
        Some(Arc::new(gathering)),
    );
    let time = TimeProvider {
        wall: Arc::new(|| OffsetDateTime::UNIX_EPOCH),
        steady: Arc::new(|| Duration::ZERO),
        // No lease runs out, so nobody gives signs of life.
        sleep: Arc::new(|_| std::future::pending().boxed()),
    };
    let settings = IngestSettings::default();
    Scene {
        ingestor: Ingestor::new(stores, settings, pipeline, time, Arc::new(Uuid::now_v7)),
        database,
        embedder,
        _folder: folder,
    }
}

impl Scene {
    async fn ingest(&self, number: u32) {
        let caller = writer("a", &["everyone"]);
        let upload = upload(&caller, &format!("{number}.txt"), &["everyone"]);
        let text = futures::stream::iter([Ok::<_, String>(format!("Text number {number}.").into())]);
        self.ingestor
            .uploads()
            .accept_upload(&caller, upload, text)
            .await
            .unwrap();
        let claim = self.ingestor.runner().claim_job(WorkerId { process: 1, number }).await;
        let claim = claim.unwrap().unwrap();
        let outcome = self.ingestor.runner().run_job(&claim, std::future::pending()).await;
        assert_eq!(outcome.unwrap(), JobOutcome::Succeeded);
    }

    fn counts(&self) -> (CommitCounts, usize) {
        (
            self.database.commit_counts(),
            self.embedder.requests.load(Ordering::Relaxed),
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_comes_alone_waits_for_nobody() {
    let scene = scene(Duration::ZERO);
    // The first one tells the index what it holds.
    scene.ingest(0).await;
    let (before, _) = scene.counts();
    for number in 1..=8 {
        scene.ingest(number).await;
    }
    let (after, requests) = scene.counts();
    assert_eq!(after.synced - before.synced, 8 * SYNCED);
    assert_eq!(after.all - before.all, 8 * (SYNCED + ORDERED));
    assert_eq!(requests, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_come_together_share_commits_and_requests() {
    const TOGETHER: u32 = 32;
    /// Longer than any machine lets the next document wait for its turn.
    const REQUEST: Duration = Duration::from_millis(50);
    let scene = scene(REQUEST);
    scene.ingest(0).await;
    let (before, requests_before) = scene.counts();
    // While the writer is held, every document brings its first write, so at least those share a commit.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let database = scene.database.clone();
    let holder = tokio::spawn(async move {
        let wait = move |_: &rusqlite::Transaction<'_>| {
            let _ = held.recv();
            Ok::<_, SqliteError>(())
        };
        database.write(Durability::Ordered, wait).await.unwrap();
    });
    let documents = join_all((1..=TOGETHER).map(|number| scene.ingest(number)));
    let let_go = async {
        tokio::time::sleep(REQUEST).await;
        drop(hold);
    };
    futures::join!(documents, let_go);
    holder.await.unwrap();
    let (after, requests) = scene.counts();
    let (synced, requests) = (after.synced - before.synced, requests - requests_before);
    let one_by_one = u64::from(TOGETHER) * SYNCED;
    assert!(
        synced <= one_by_one - u64::from(TOGETHER / 2),
        "{synced} of {one_by_one} syncs"
    );
    assert!(requests < TOGETHER as usize, "{requests} requests");
}
