//! Catching up and rebuilding over all tenants embeds each document once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use ragstone_adapters::catalogue::sqlite::SqliteCatalogue;
use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::SqliteDatabase;
use ragstone_core::access::{Acl, Reader};
use ragstone_core::document::{JobState, WorkerId};
use ragstone_core::id::{CollectionName, DocumentId, SourceName};
use ragstone_core::ingest::{IngestSettings, IngestStores, UploadMetadata};
use ragstone_core::rank::gate::WordStatistics;
use ragstone_core::seam::embedder::{EmbedderFingerprint, Embedding, TextKind};
use ragstone_core::seam::parser::{PageReceiver, ParseOutput, ParseRequest};
use ragstone_core::seam::{DocumentParser, EmbedError, ParseFailure};
use uuid::Uuid;

use super::*;
use crate::clock::system_time;

const WORKER: WorkerId = WorkerId { process: 1, number: 1 };

/// Bytes that are text.
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
        let text = std::str::from_utf8(&bytes).unwrap();
        pages.receive_page(None, text).await.unwrap();
        Ok(ParseOutput {
            media_type: "text/plain".into(),
            ..ParseOutput::default()
        })
    }
}

/// One vector for all, and a count of the texts that got it.
struct Same {
    fingerprint: EmbedderFingerprint,
    texts: AtomicUsize,
}

impl Same {
    fn named(model: &str) -> Arc<Self> {
        let fingerprint = EmbedderFingerprint {
            model: model.into(),
            revision: String::new(),
            dimensions: 2,
            pooling: String::new(),
            query_prefix: String::new(),
            passage_prefix: String::new(),
        };
        Arc::new(Self {
            fingerprint,
            texts: AtomicUsize::new(0),
        })
    }

    fn texts(&self) -> usize {
        self.texts.swap(0, Ordering::Relaxed)
    }
}

#[async_trait]
impl Embedder for Same {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        &self.fingerprint
    }

    async fn embed_texts(&self, texts: &[String], _: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        self.texts.fetch_add(texts.len(), Ordering::Relaxed);
        let embedding = Embedding {
            vector: vec![0.6, 0.8],
            tokens: None,
        };
        Ok(vec![embedding; texts.len()])
    }

    fn word_statistics(&self, _: &str) -> Option<WordStatistics> {
        None
    }
}

/// A library without vectors, with nothing that remembers embeddings.
fn library() -> EmbedderManager {
    let database = SqliteDatabase::in_memory().unwrap();
    let catalogue: Arc<dyn Catalogue> = Arc::new(SqliteCatalogue::open(database.clone()).unwrap());
    let index: Arc<dyn VectorIndex> = Arc::new(EmbeddedIndex::open(database).unwrap());
    let recipe = PipelineRecipe {
        parser: "text".into(),
        split: SplitSettings::default(),
        structured: SplitStrategy::Recursive,
    };
    let stores = IngestStores {
        catalogue: catalogue.clone(),
        index: index.clone(),
        blobs: Arc::new(InMemory::new()),
        parser: Arc::new(Text),
        embeddings: None,
    };
    let ids = AtomicU64::new(1);
    let new_id = Arc::new(move || Uuid::from_u128(u128::from(ids.fetch_add(1, Ordering::Relaxed))));
    let settings = IngestSettings::default();
    let ingestor = Ingestor::new(stores, settings, recipe.build_pipeline(None), system_time(), new_id);
    EmbedderManager {
        catalogue,
        index,
        ingestor: Arc::new(ingestor),
        slot: Arc::default(),
        recipe,
        operator: crate::operator::operator_principal_of,
        notify_workers: Arc::new(|| {}),
        state: RwLock::new(EmbedderState::Off),
        embedder: RwLock::default(),
        shared: false,
        switching: Mutex::default(),
        dual_index: None,
        advice: RwLock::default(),
    }
}

impl EmbedderManager {
    async fn ingest(&self, tenant: &str, uri: &str) -> DocumentId {
        let principal = (self.operator)(tenant.parse().unwrap());
        let upload = UploadMetadata {
            collection: CollectionName::default(),
            source: SourceName::default(),
            uri: uri.parse().unwrap(),
            may_replace: true,
            name: "x.txt".into(),
            title: None,
            declared_media_type: None,
            acl: Acl::any_of(principal.tenant().clone(), [Reader::everyone()]),
            department_id: None,
            metadata: Default::default(),
            source_url: None,
            batch: None,
        };
        let id = DocumentId::from_uri(principal.tenant(), &upload.collection, &upload.source, uri);
        let bytes = futures::stream::iter([Ok::<_, String>("a lamp".into())]).boxed();
        self.ingestor
            .uploads()
            .accept_upload(&principal, upload, bytes)
            .await
            .unwrap();
        self.work().await;
        id
    }

    async fn work(&self) {
        while self.ingestor.runner().run_next(WORKER).await.unwrap().is_some() {}
    }

    /// Adopts an embedder while a worker is there.
    async fn adopt_at_work(&self, embedder: Arc<Same>) {
        let working = async {
            loop {
                self.work().await;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            adopted = self.adopt_embedder(embedder, true) => adopted.unwrap(),
            () = working => {}
        }
    }
}

#[tokio::test]
async fn what_has_its_vectors_already_is_not_embedded_again_and_every_tenant_gets_them() {
    let library = library();
    let first = library.ingest("default", "1").await;
    library.ingest("default", "2").await;
    library.ingest("other", "3").await;
    // As far as a process came that ended before all had their vectors.
    let embedder = Same::named("m");
    let pipeline = library.recipe.build_pipeline(Some(embedder.clone()));
    library.ingestor.set_pipeline(pipeline);
    let operator = (library.operator)(TenantId::default());
    library
        .ingestor
        .uploads()
        .queue_reingest(&operator, first)
        .await
        .unwrap()
        .unwrap();
    library.work().await;
    assert_eq!(embedder.texts(), 1);
    library.ingestor.set_pipeline(library.recipe.build_pipeline(None));
    library.adopt_at_work(embedder.clone()).await;
    assert_eq!(embedder.texts(), 2);
    assert_eq!(library.state(), EmbedderState::Ready("m".into()));
    library.adopt_at_work(embedder.clone()).await;
    assert_eq!(embedder.texts(), 0, "all have them");
}

#[tokio::test]
async fn a_rebuild_is_of_every_tenant_and_its_jobs_can_be_followed() {
    let library = library();
    let embedder = Same::named("m");
    library.adopt_at_work(embedder.clone()).await;
    library.ingest("default", "1").await;
    library.ingest("other", "2").await;
    assert_eq!(embedder.texts(), 2);
    let jobs = library.rebuild_index().await.unwrap();
    assert_eq!(jobs.len(), 2);
    library.work().await;
    assert_eq!(embedder.texts(), 2);
    for job in jobs {
        let job = library.find_job(job).await.unwrap().unwrap();
        assert_eq!(job.state, JobState::Succeeded);
    }
    let none = library.find_job(JobId(Uuid::nil())).await.unwrap();
    assert_eq!(none, None);
    assert_eq!(library.index_status().await.unwrap()["documents"], 2);
}

#[tokio::test]
async fn a_rebuild_drops_no_vectors_because_their_embedder_is_away() {
    let library = library();
    let embedder = Same::named("m");
    library.adopt_at_work(embedder.clone()).await;
    library.ingest("default", "1").await;
    let points = library.index.count_points().await.unwrap();
    // As a process begins that does not find its embedder.
    *library.embedder.write().unwrap() = None;
    library.set_state(EmbedderState::Missing("no route".into()));
    let refused = library.rebuild_index().await.unwrap_err().to_string();
    assert!(refused.contains("missing: no route"), "{refused}");
    assert_eq!(library.index.count_points().await.unwrap(), points);
    library.set_state(EmbedderState::Off);
    assert_eq!(
        library.rebuild_index().await.unwrap().len(),
        1,
        "the settings want none"
    );
}

#[tokio::test]
async fn what_was_taken_in_while_the_embedder_was_away_gets_its_vectors_and_what_other_settings_made_stays() {
    let (mut library, embedder) = (library(), Same::named("m"));
    library.adopt_at_work(embedder.clone()).await;
    library.ingest("default", "1").await;
    library.ingestor.set_pipeline(library.recipe.build_pipeline(None));
    library.ingest("default", "2").await;
    let recipe = PipelineRecipe {
        parser: "another".into(),
        ..library.recipe.clone()
    };
    library.ingestor.set_pipeline(recipe.build_pipeline(None));
    library.ingest("default", "3").await;
    assert_eq!(embedder.texts(), 1);
    library.adopt_embedder(embedder.clone(), false).await.unwrap();
    library.work().await;
    assert_eq!(embedder.texts(), 0, "whoever only asks leaves it");
    library.adopt_embedder(embedder.clone(), true).await.unwrap();
    library.work().await;
    assert_eq!(embedder.texts(), 1);
    library.recipe = recipe;
    library.adopt_embedder(embedder.clone(), true).await.unwrap();
    library.work().await;
    assert_eq!(embedder.texts(), 1);
}

#[tokio::test]
async fn a_document_waits_for_the_embedder_that_the_library_has_its_vectors_by_and_for_no_other() {
    let (library, embedder) = (library(), Same::named("m"));
    let expected = |embedder: &Arc<Same>| {
        let fingerprint = embedder.fingerprint.clone();
        move |dimensions| {
            Some(EmbedderFingerprint {
                dimensions,
                ..fingerprint
            })
        }
    };
    let pipeline = |library: &EmbedderManager| library.ingestor.pipeline().fingerprint().to_owned();
    let lexical = pipeline(&library);
    let wait = library.wait_for_embedder(expected(&embedder));
    wait.await.unwrap();
    assert_eq!(pipeline(&library), lexical, "nothing has vectors");

    library.adopt_at_work(embedder.clone()).await;
    library.ingest("default", "1").await;
    let by_it = pipeline(&library);
    // As a process begins that does not find its embedder.
    let start = || library.ingestor.set_pipeline(library.recipe.build_pipeline(None));
    start();
    let wait = library.wait_for_embedder(expected(&Same::named("another")));
    wait.await.unwrap();
    assert_eq!(pipeline(&library), lexical, "the library knows another one");
    library.wait_for_embedder(|_| None).await.unwrap();
    assert_eq!(pipeline(&library), lexical, "nobody knows which will come");
    library.wait_for_embedder(expected(&embedder)).await.unwrap();
    assert_eq!(pipeline(&library), by_it, "so the same bytes stay unchanged");

    embedder.texts();
    library.ingest("default", "2").await;
    let scope = (library.operator)(TenantId::default()).scope();
    let waiting = library.list_jobs(&scope, JobState::Queued).await.unwrap();
    assert_eq!((waiting.len(), embedder.texts()), (1, 0), "it waits");
}
