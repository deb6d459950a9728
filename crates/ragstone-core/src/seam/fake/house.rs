//! A complete library in memory: ingestor and library over the fakes, with a manual clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use object_store::memory::InMemory;
use uuid::Uuid;

use super::faults::Faults;
use super::{Hands, MemoryCatalogue, MemoryEmbeddingCache, MemoryIndex, TextParser, WordEmbedder};
use crate::access::{Acl, Principal, ReaderSet, Role};
use crate::document::WorkerId;
use crate::id::{CollectionName, DocumentId, SourceName};
use crate::ingest::fsck::FsckReport;
use crate::ingest::{
    IdGenerator, IngestPipeline, IngestSettings, IngestStores, Ingestor, JobOutcome, UploadMetadata, UploadSharing,
};
use crate::library::layout::BlobKey;
use crate::library::{ActiveEmbedder, Library};
use crate::seam::catalogue::BeginOutcome;
use crate::seam::{Catalogue, DocumentParser, Embedder, VectorIndex};
use crate::split::{SplitSettings, SplitStrategy};

/// A library in memory, with access to its parts.
pub struct House {
    /// The catalogue of the library.
    pub catalogue: Arc<MemoryCatalogue>,
    /// The index as the ingestor and the library see it.
    pub index: Arc<dyn VectorIndex>,
    /// Blobs: originals and extracted texts.
    pub blobs: Arc<InMemory>,
    /// The cache of embeddings.
    pub embeddings: Arc<MemoryEmbeddingCache>,
    /// The embedder in use.
    pub embedder: Arc<WordEmbedder>,
    /// The ingestor of the library.
    pub ingestor: Ingestor,
    /// The library that answers searches.
    pub library: Library,
    /// Makes another ingestor over the same stores.
    begin: Box<dyn Fn() -> Ingestor + Send + Sync>,
    /// The manual clock of all parts.
    pub hands: Arc<Hands>,
}

/// The worker that runs the jobs.
pub const WORKER: WorkerId = WorkerId { process: 1, number: 1 };

/// The state that a library starts with.
#[derive(Default)]
struct Left {
    blobs: Arc<InMemory>,
    /// Ids that were drawn.
    ids: u64,
}

/// Offset of the ids of a library over existing blobs; no test library draws as many, so ids never collide.
const LATER_IDS: u64 = 1 << 32;

impl House {
    /// An empty library over an in-memory index.
    pub fn new() -> Self {
        Self::over(Arc::new(MemoryIndex::default()))
    }

    /// An empty library over another index.
    pub fn over(index: Arc<dyn VectorIndex>) -> Self {
        Self::built(index, None, Left::default())
    }

    /// A library with an empty catalogue and index over existing blobs, as after their loss.
    pub fn of_blobs(blobs: &Arc<InMemory>) -> Self {
        let left = Left {
            blobs: blobs.clone(),
            ids: LATER_IDS,
        };
        Self::built(Arc::new(MemoryIndex::default()), None, left)
    }

    /// The same library, reading through stores that `faults` watches.
    pub fn watched(&self, faults: &Arc<Faults>) -> Library {
        let stores = faults.watch(IngestStores {
            catalogue: self.catalogue.clone(),
            index: self.index.clone(),
            blobs: self.blobs.clone(),
            parser: Arc::new(TextParser),
            embeddings: None,
        });
        let in_use = ActiveEmbedder {
            embedder: self.embedder.clone(),
            index: stores.index.clone(),
        };
        let slot = Arc::new(RwLock::new(Some(in_use)));
        Library::new(stores.catalogue, stores.index, stores.blobs, slot)
    }

    /// An empty library whose ingestor works on stores that fail as `faults` plans; the library reads them directly.
    pub fn failing(faults: &Arc<Faults>) -> Self {
        Self::built(Arc::new(MemoryIndex::default()), Some(faults), Left::default())
    }

    fn built(index: Arc<dyn VectorIndex>, faults: Option<&Arc<Faults>>, left: Left) -> Self {
        let (catalogue, blobs) = (Arc::new(MemoryCatalogue::default()), left.blobs);
        let (embedder, embeddings) = (
            Arc::new(WordEmbedder::default()),
            Arc::<MemoryEmbeddingCache>::default(),
        );
        let (hands, ids) = (Arc::<Hands>::default(), AtomicU64::new(left.ids + 1));
        let (time, new_id): (_, IdGenerator) = (
            hands.time(),
            Arc::new(move || Uuid::from_u128(u128::from(ids.fetch_add(1, Ordering::Relaxed)))),
        );
        let (stores, embeds, faults) = (
            (catalogue.clone(), index.clone(), blobs.clone(), embeddings.clone()),
            embedder.clone(),
            faults.cloned(),
        );
        let begin = move || {
            let (catalogue, index, blobs, embeddings) = stores.clone();
            let stores = IngestStores {
                catalogue,
                index,
                blobs,
                parser: Arc::new(TextParser),
                embeddings: Some(embeddings),
            };
            let stores = match &faults {
                Some(faults) => faults.watch(stores),
                None => stores,
            };
            let settings = IngestSettings {
                batch_chunks: 2,
                ..IngestSettings::default()
            };
            let pipeline = Self::pipeline(embeds.clone());
            Ingestor::new(stores, settings, pipeline, time.clone(), new_id.clone())
        };
        let ingestor = begin();
        let in_use = ActiveEmbedder {
            embedder: embedder.clone(),
            index: index.clone(),
        };
        let library = Library::new(
            catalogue.clone(),
            index.clone(),
            blobs.clone(),
            Arc::new(RwLock::new(Some(in_use))),
        );
        Self {
            catalogue,
            index,
            blobs,
            embeddings,
            embedder,
            ingestor,
            library,
            begin: Box::new(begin),
            hands,
        }
    }

    /// The pipeline of a library whose embedder is `embedder`.
    pub fn pipeline(embedder: Arc<dyn Embedder>) -> IngestPipeline {
        let split = SplitSettings {
            chunk_size: 80,
            chunk_overlap: 10,
            ..SplitSettings::default()
        };
        IngestPipeline::new(
            TextParser.fingerprint(),
            split,
            SplitStrategy::Recursive,
            Some(embedder),
        )
    }

    /// Another ingestor over the same stores, as another request or worker sees them.
    pub fn another(&self) -> Ingestor {
        (self.begin)()
    }

    /// Restarts after the process died: only what is stored is left.
    pub async fn restart(&mut self) {
        self.ingestor = self.another();
        let now = self.ingestor.current_moment();
        self.catalogue
            .requeue_interrupted_jobs(now)
            .await
            .expect("the catalogue works");
    }

    /// Advances the clock by `seconds`.
    pub fn wait(&self, seconds: u64) {
        self.hands.turn(seconds);
    }

    /// Accepts a text as an upload.
    pub async fn accept(&self, caller: &Principal, uri: &str, readers: &[&str], text: &str) -> BeginOutcome {
        let upload = upload(caller, uri, readers);
        let bytes = futures::stream::iter([Ok::<_, String>(text.to_owned().into())]);
        self.ingestor
            .uploads()
            .accept_upload(caller, upload, bytes)
            .await
            .expect("accepted")
    }

    /// Runs every ready job; returns how each ended.
    pub async fn work(&self) -> Vec<JobOutcome> {
        let mut outcomes = Vec::new();
        while let Some((_, outcome)) = self
            .ingestor
            .runner()
            .run_next(WORKER)
            .await
            .expect("the catalogue works")
        {
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Accepts a text and runs its job.
    pub async fn ingest(&self, caller: &Principal, uri: &str, readers: &[&str], text: &str) -> DocumentId {
        let begun = self.accept(caller, uri, readers, text).await;
        self.work().await;
        match begun {
            BeginOutcome::Started(document, _)
            | BeginOutcome::Updated(document)
            | BeginOutcome::Unchanged(document) => document.id,
        }
    }

    /// Queues a document that is there to be made again; [`House::work`] runs its job.
    pub async fn reingest(&self, caller: &Principal, document: DocumentId) {
        let queued = self.ingestor.uploads().queue_reingest(caller, document).await;
        queued.expect("queued").expect("a document that the caller may change");
    }

    /// Deletes a document that is there; [`House::work`] purges it.
    pub async fn delete(&self, caller: &Principal, document: DocumentId) {
        let deleted = self.ingestor.uploads().delete_document(caller, document).await;
        deleted
            .expect("deleted")
            .expect("a document that the caller may delete");
    }

    /// Sweeps the stores, as the one process that has them.
    pub async fn sweep(&self) -> FsckReport {
        let swept = self.ingestor.consistency().sweep_stores(UploadSharing::Exclusive).await;
        swept.expect("swept")
    }

    /// How many objects the blob store holds, beside manifests and notes.
    pub async fn blob_count(&self) -> usize {
        self.blobs_that(|key| !is_record(key)).await
    }

    /// How many manifests and notes it holds.
    pub async fn record_count(&self) -> usize {
        self.blobs_that(is_record).await
    }

    async fn blobs_that(&self, count: impl Fn(&BlobKey) -> bool) -> usize {
        use futures::StreamExt;
        use object_store::ObjectStore;
        let listed = self.blobs.list(None);
        let counts = listed.filter(|blob| {
            let counts = blob
                .as_ref()
                .is_ok_and(|blob| count(&BlobKey::from_path(&blob.location)));
            std::future::ready(counts)
        });
        counts.count().await
    }

    /// Whether the catalogue still has the document's row, tombstoned or not.
    pub async fn stands(&self, document: DocumentId) -> bool {
        !self
            .catalogue
            .documents_unchecked(&[document])
            .await
            .expect("an answer")
            .is_empty()
    }
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

fn is_record(key: &BlobKey) -> bool {
    matches!(key, BlobKey::Manifest(..) | BlobKey::Deleted(..) | BlobKey::Closing(_))
}

/// A writer of `tenant` that holds these readers.
pub fn writer(tenant: &str, readers: &[&str]) -> Principal {
    let readers: ReaderSet = readers.iter().map(|reader| reader.parse().expect("a reader")).collect();
    Principal::verified(
        tenant.parse().expect("a tenant"),
        "writer".into(),
        readers,
        Role::Writer,
    )
}

/// An upload of `uri` for these readers.
pub fn upload(caller: &Principal, uri: &str, readers: &[&str]) -> UploadMetadata {
    let readers = readers.iter().map(|reader| reader.parse().expect("a reader"));
    UploadMetadata {
        collection: CollectionName::default(),
        source: SourceName::default(),
        uri: uri.parse().expect("a uri"),
        may_replace: true,
        name: uri.rsplit('/').next().unwrap_or(uri).into(),
        title: None,
        declared_media_type: None,
        acl: Acl::any_of(caller.tenant().clone(), readers),
        department_id: None,
        metadata: Default::default(),
        source_url: None,
        batch: None,
    }
}
