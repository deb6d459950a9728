//! Test library in its own folder, with models that count words.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use ragstone_adapters::catalogue::sqlite::SqliteCatalogue;
use ragstone_adapters::sqlite::SqliteDatabase;
use ragstone_core::access::Acl;
use ragstone_core::document::WorkerId;
use ragstone_core::id::{CollectionName, DocumentId, SourceName};
use ragstone_core::ingest::fsck::{FsckCounts, RepairOptions};
use ragstone_core::ingest::{IngestSettings, IngestStores, Ingestor, JobOutcome, UploadMetadata, UploadSharing};
use ragstone_core::library::{Library, SearchRequest};
use ragstone_core::rank::gate::WordStatistics;
use ragstone_core::seam::catalogue::BeginOutcome;
use ragstone_core::seam::embedder::{EmbedderFingerprint, Embedding, TextKind};
use ragstone_core::seam::index::SearchMode;
use ragstone_core::seam::parser::{PageReceiver, ParseOutput, ParseRequest};
use ragstone_core::seam::{Catalogue, DocumentParser, EmbedError, Embedder, ParseFailure};
use ragstone_core::split::{SplitSettings, SplitStrategy};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::super::super::ModelFetch;
use super::super::super::stores::open_dual_index;
use super::super::super::vectors::{EmbedderManager, EmbedderState, PipelineRecipe};
use super::super::ModelMigration;
use super::super::record::TargetModel;
use crate::clock::{new_id, system_time};
use crate::config::{Settings, SettingsLayers};
use crate::operator;

/// The model that a library begins with, and the one that it is changed to.
pub const OLD: &str = "old";
pub const NEW: &str = "new";

/// How often it is looked for what must come, a millisecond apart.
const LOOKS: usize = 30_000;
const WORKER: WorkerId = WorkerId { process: 1, number: 1 };

/// How many texts each model may still embed, and how many it was asked for.
#[derive(Default)]
pub struct Models {
    allowed: Mutex<HashMap<String, u64>>,
    asked: Mutex<HashMap<String, u64>>,
}

impl Models {
    pub fn allow(&self, model: &str, texts: u64) {
        self.allowed.lock().unwrap().insert(model.into(), texts);
        self.asked.lock().unwrap().insert(model.into(), 0);
    }

    pub fn asked(&self, model: &str) -> u64 {
        self.asked.lock().unwrap().get(model).copied().unwrap_or_default()
    }
}

/// A model whose vectors count words, each at a place that the model's name decides.
struct Words {
    fingerprint: EmbedderFingerprint,
    models: Arc<Models>,
}

impl Words {
    fn of(model: &str, models: &Arc<Models>) -> Self {
        let fingerprint = EmbedderFingerprint {
            model: model.into(),
            revision: String::new(),
            dimensions: if model == OLD { 512 } else { 768 },
            pooling: String::new(),
            query_prefix: String::new(),
            passage_prefix: String::new(),
        };
        Self {
            fingerprint,
            models: models.clone(),
        }
    }

    fn dimensions(&self) -> usize {
        self.fingerprint.dimensions
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0_f32; self.dimensions()];
        vector[0] = 0.1;
        for word in text.split_whitespace() {
            let hash = blake3::hash(format!("{} {word}", self.fingerprint.model).as_bytes());
            let at = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
            vector[(at % self.dimensions() as u64) as usize] += 1.0;
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter().map(|value| value / length).collect()
    }
}

#[async_trait]
impl Embedder for Words {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        &self.fingerprint
    }

    async fn embed_texts(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        let model = &self.fingerprint.model;
        if kind == TextKind::Passage {
            let mut allowed = self.models.allowed.lock().unwrap();
            let left = allowed.entry(model.clone()).or_insert(u64::MAX);
            let Some(rest) = left.checked_sub(texts.len() as u64) else {
                return Err(EmbedError::Broken {
                    detail: "it is away".into(),
                });
            };
            *left = rest;
            *self.models.asked.lock().unwrap().entry(model.clone()).or_default() += texts.len() as u64;
        }
        // Others come in between.
        tokio::task::yield_now().await;
        let embedding = |text: &String| Embedding {
            vector: self.vector(text),
            tokens: None,
        };
        Ok(texts.iter().map(embedding).collect())
    }

    fn word_statistics(&self, _: &str) -> Option<WordStatistics> {
        None
    }
}

struct Text;

#[async_trait]
impl DocumentParser for Text {
    fn fingerprint(&self) -> &str {
        "text"
    }

    async fn parse_document(
        &self,
        blobs: &dyn ObjectStore,
        request: &ParseRequest,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseFailure> {
        let bytes = blobs.get(&request.blob).await.unwrap().bytes().await.unwrap();
        pages
            .receive_page(None, std::str::from_utf8(&bytes).unwrap())
            .await
            .unwrap();
        Ok(ParseOutput {
            media_type: "text/plain".into(),
            ..ParseOutput::default()
        })
    }
}

pub fn target(model: &str) -> TargetModel {
    TargetModel {
        remote: true,
        model: model.into(),
        ..TargetModel::default()
    }
}

/// Words that only document `n` has.
pub fn question(n: usize) -> String {
    format!("zebra{n} attic{n} lamp{n}")
}

fn text(n: usize) -> String {
    let sentence = |k: usize| format!("{} part {k} of the house number {n} has a door. ", question(n));
    (0..4).map(sentence).collect()
}

fn uri(n: usize) -> String {
    format!("doc-{n}")
}

/// A library with its migration, as one process has it.
pub struct House {
    folder: Arc<TempDir>,
    blobs: Arc<InMemory>,
    pub models: Arc<Models>,
    pub ingestor: Arc<Ingestor>,
    pub vectors: Arc<EmbedderManager>,
    pub migration: Arc<ModelMigration>,
    library: Arc<Library>,
    catalogue: Arc<dyn Catalogue>,
    keeps: JoinHandle<()>,
    /// The readers of each document there should be.
    held: Mutex<BTreeMap<usize, String>>,
}

impl House {
    pub async fn begin(model: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::open(folder, Arc::default(), Arc::default(), BTreeMap::new(), model).await
    }

    /// Ends the process, and begins another one whose settings name `model`.
    pub async fn end_and_open(self, model: &str) -> Self {
        self.keeps.abort();
        let _ = self.keeps.await;
        let held = self.held.into_inner().unwrap();
        let models = Arc::<Models>::default();
        let (folder, blobs) = (self.folder.clone(), self.blobs.clone());
        drop((
            self.ingestor,
            self.vectors,
            self.migration,
            self.library,
            self.catalogue,
        ));
        Self::open(folder, blobs, models, held, model).await
    }

    async fn open(
        folder: Arc<TempDir>,
        blobs: Arc<InMemory>,
        models: Arc<Models>,
        held: BTreeMap<usize, String>,
        model: &str,
    ) -> Self {
        let settings = target(model).apply_to(&Settings::from_layers(&SettingsLayers::default()).unwrap());
        let database = SqliteDatabase::open(&folder.path().join("ragstone.db")).unwrap();
        let catalogue: Arc<dyn Catalogue> = Arc::new(SqliteCatalogue::open(database.clone()).unwrap());
        let sides = open_dual_index(folder.path(), database, catalogue.as_ref(), None, &Default::default())
            .await
            .unwrap();
        let recipe = PipelineRecipe {
            parser: "text".into(),
            split: SplitSettings {
                chunk_size: 60,
                chunk_overlap: 0,
                ..SplitSettings::default()
            },
            structured: SplitStrategy::Recursive,
        };
        let stores = IngestStores {
            catalogue: catalogue.clone(),
            index: sides.clone(),
            blobs: blobs.clone(),
            parser: Arc::new(Text),
            embeddings: None,
        };
        let ingest = IngestSettings {
            batch_chunks: 2,
            retry_base: Duration::from_millis(1),
            retry_cap: Duration::from_millis(1),
            ..IngestSettings::default()
        };
        let ingestor = Arc::new(Ingestor::new(
            stores,
            ingest,
            recipe.build_pipeline(None),
            system_time(),
            new_id(),
        ));
        catalogue
            .requeue_interrupted_jobs(ingestor.current_moment())
            .await
            .unwrap();
        sides.set_ingestor(&ingestor);
        let slot = Arc::default();
        let library = Library::new(catalogue.clone(), sides.clone(), blobs.clone(), Arc::clone(&slot));
        let library = Arc::new(library);
        let vectors = Arc::new(EmbedderManager {
            catalogue: catalogue.clone(),
            index: sides.clone(),
            ingestor: ingestor.clone(),
            slot,
            recipe,
            operator: operator::operator_principal_of,
            notify_workers: Arc::new(|| {}),
            state: RwLock::new(EmbedderState::Off),
            embedder: RwLock::default(),
            shared: false,
            switching: Default::default(),
            dual_index: Some(sides.clone()),
            advice: RwLock::default(),
        });
        let made_of = models.clone();
        let migration = Arc::new(ModelMigration {
            settings,
            embedders: Arc::new(move |target| {
                let words: Arc<dyn Embedder> = Arc::new(Words::of(&target.model, &made_of));
                std::future::ready(Ok(words)).boxed()
            }),
            catalogue: catalogue.clone(),
            blobs: blobs.clone(),
            library: library.clone(),
            vectors: vectors.clone(),
            folder: Some(folder.path().to_owned()),
            reserve: None,
            command_lock: Default::default(),
            work_lock: Default::default(),
            switch_lock: Default::default(),
            halted: tokio::sync::watch::Sender::new(false),
            wake: Default::default(),
            fills: Default::default(),
            last_error: RwLock::default(),
        });
        let in_use = TargetModel::from_settings(&migration.active_settings().await.unwrap());
        vectors
            .adopt_embedder((migration.embedders)(in_use).await.unwrap(), false)
            .await
            .unwrap();
        let keeps = migration.start_worker(&ModelFetch::Background).unwrap();
        Self {
            folder,
            blobs,
            models,
            ingestor,
            vectors,
            migration,
            library,
            catalogue,
            keeps,
            held: Mutex::new(held),
        }
    }

    /// Puts document `n` in for these readers; says whether a version of it was made.
    pub async fn put(&self, n: usize, readers: &str) -> bool {
        let principal = operator::operator_principal();
        let upload = UploadMetadata {
            collection: CollectionName::default(),
            source: SourceName::default(),
            uri: uri(n).parse().unwrap(),
            may_replace: true,
            name: "x.txt".into(),
            title: n.is_multiple_of(2).then(|| format!("House {n}")),
            declared_media_type: None,
            acl: Acl::any_of(principal.tenant().clone(), [readers.parse().unwrap()]),
            department_id: None,
            metadata: Default::default(),
            source_url: None,
            batch: None,
        };
        let bytes = futures::stream::iter([Ok::<_, String>(text(n).into())]).boxed();
        let begun = self
            .ingestor
            .uploads()
            .accept_upload(&principal, upload, bytes)
            .await
            .unwrap();
        self.held.lock().unwrap().insert(n, readers.into());
        let BeginOutcome::Started(..) = begun else {
            return false;
        };
        matches!(
            self.ingestor.runner().run_next(WORKER).await.unwrap(),
            Some((_, JobOutcome::Succeeded))
        )
    }

    pub async fn remove(&self, n: usize) {
        self.held.lock().unwrap().remove(&n);
        let id = DocumentId::from_uri(
            operator::operator_principal().tenant(),
            &CollectionName::default(),
            &SourceName::default(),
            &uri(n),
        );
        self.ingestor
            .uploads()
            .delete_document(&operator::operator_principal(), id)
            .await
            .unwrap();
        self.work().await;
    }

    /// Works off what waits.
    pub async fn work(&self) {
        for _ in 0..LOOKS {
            while self.ingestor.runner().run_next(WORKER).await.unwrap().is_some() {}
            let counts = self.vectors.live_jobs().await.unwrap();
            if counts.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("jobs are left");
    }

    /// By vectors alone, which only the index of their own model takes.
    async fn found(&self, query: &str) -> Vec<(String, u32, i64)> {
        let request = SearchRequest {
            mode: SearchMode::Dense,
            ..SearchRequest::new(query, 5)
        };
        let scope = operator::operator_principal().scope();
        let found = self.library.search(&scope, &request).await.unwrap();
        assert_eq!(found.notices, [], "{query}");
        let passage = |passage: &ragstone_core::library::Passage| {
            let score = (passage.score * 1e5).round() as i64;
            (passage.uri.clone(), passage.chunk.ordinal, score)
        };
        found.passages.iter().map(|found| passage(found)).collect()
    }

    /// Whether document `n` is the first that is found, if it is there at all.
    #[track_caller]
    pub fn answers(&self, n: usize) -> impl Future<Output = ()> + '_ {
        let place = std::panic::Location::caller();
        async move {
            let held = self.held.lock().unwrap().contains_key(&n);
            let found = self.found(&question(n)).await;
            let first = found.first().map(|(uri, ..)| uri.clone());
            assert_eq!(first == Some(uri(n)), held, "{n} at {place}: {found:?}");
        }
    }

    /// What is found for every document, the same scores in any order.
    pub async fn everything_found(&self) -> Vec<Vec<(String, u32, i64)>> {
        let held: Vec<usize> = self.held.lock().unwrap().keys().copied().collect();
        let mut all = Vec::new();
        for n in held {
            let mut found = self.found(&question(n)).await;
            // Where scores tie, the ids of chunks decide, and those name the model that they began with.
            let last = found.last().map(|(.., score)| *score);
            found.retain(|(.., score)| Some(*score) != last);
            found.sort_by(|one, other| (-one.2, &one.0, one.1).cmp(&(-other.2, &other.0, other.1)));
            all.push(found);
        }
        all
    }

    /// Imports all documents of another test library.
    pub async fn take_over(&self, other: &House) {
        let held = other.held.lock().unwrap().clone();
        for (n, readers) in held {
            assert!(self.put(n, &readers).await);
        }
    }

    pub async fn until(&self, state: &str) {
        for _ in 0..LOOKS {
            if self.migration.current_status().await.unwrap().state == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{:?}", self.migration.current_status().await);
    }

    pub async fn until_trouble(&self) {
        for _ in 0..LOOKS {
            if self.migration.current_status().await.unwrap().trouble.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{:?}", self.migration.current_status().await);
    }

    /// Catalogue, index and blobs agree, and both sides with each other: the same points with the same readers.
    pub async fn is_sound(&self) {
        self.work().await;
        let report = self
            .ingestor
            .consistency()
            .run_fsck(RepairOptions::default(), UploadSharing::Exclusive)
            .await
            .unwrap();
        assert_eq!((report.findings, report.orphans), (Vec::new(), FsckCounts::default()));
        let pair = self.vectors.dual_index.as_ref().unwrap().current_pair();
        let Some(other) = pair.shadow else { return };
        let sorted = |mut all: Vec<_>| {
            all.sort();
            all
        };
        let (one, two) = (
            sorted(pair.active.index.list_generations(None).await.unwrap()),
            sorted(other.index.list_generations(None).await.unwrap()),
        );
        assert_eq!(one, two);
        let scope = operator::operator_principal().scope();
        for ((document, generation), points) in one {
            let mut seen = Vec::new();
            for side in [&pair.active, &other] {
                let whole = side.points.read_points(document, generation, 0, 1_000).await.unwrap();
                let shown = side
                    .index
                    .list_chunks(&scope, document, generation, 0, 1_000)
                    .await
                    .unwrap();
                assert_eq!((whole.len() as u64, shown.len() as u64), (points, points));
                let told = |point: ragstone_core::seam::index::IndexPoint| {
                    let dense = point.dense.as_ref().map(Vec::len);
                    (
                        dense,
                        (point.id, point.chunk, point.acl, point.acl_revision, point.lexical),
                    )
                };
                seen.push(whole.into_iter().map(told).unzip::<_, _, Vec<_>, Vec<_>>());
            }
            assert_eq!(seen[0].1, seen[1].1);
            assert_ne!(seen[0].0, seen[1].0, "each has its own model's vectors");
        }
    }

    pub fn databases(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".db")).collect();
        names.sort_by_key(|name| name.starts_with("index-"));
        names
    }
}
