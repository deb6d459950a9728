//! Stores that fail, or run an action first, at a call that the test chooses.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use time::OffsetDateTime;

use super::lock;
use crate::access::{Acl, Scope, ScopedQuery};
use crate::document::{Document, DocumentMetadata, Job, JobCounts, JobError, WorkerId};
use crate::id::{DocumentId, Generation, JobId, PointId, SourceName, TenantId};
use crate::ingest::IngestStores;
use crate::rank::{TermId, TermStatistics};
use crate::seam::attachments::{AttachedDocument, AttachmentStore, NewAttachment};
use crate::seam::audit::{ConsistencyScan, DocumentRefs};
use crate::seam::catalogue::{
    BeginOutcome, Catalogue, CatalogueError, ClaimedJob, ClockReading, DocumentAccess, DocumentFilter, DocumentLabel,
    DocumentPatch, FailedDocuments, JobFilter, JobLease, JobProgress, ListPage, NewVersion, OriginalLocation,
    PageRequest, PublishOutcome, PublishedVersion, RequeueOutcome, RetryDelay,
};
use crate::seam::embedding_cache::{EmbeddingCache, EmbeddingCacheError, EmbeddingKey, StoredEmbedding};
use crate::seam::index::{
    DocumentGeneration, IndexError, IndexHits, IndexPoint, IndexQuery, IndexSpec, StoredChunk, VectorIndex,
};
use crate::seam::manifest::{DocumentManifest, ManifestStore};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call has no effect and fails.
    Refused,
    /// The call takes effect, but its response is lost.
    Lost,
    /// This call and every later one fail without effect: the process died here.
    Dead,
}

/// What happens at a call.
pub enum Event {
    /// The call fails in this way.
    Fails(Fault),
    /// This future is awaited before the call.
    After(BoxFuture<'static, ()>),
}

/// Counts the calls of a set of stores, from 1, and makes one of them special.
#[derive(Default)]
pub struct Faults {
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    calls: usize,
    event: Option<(usize, Event)>,
    /// What is done before so many calls of a name have come.
    before: Option<(usize, &'static str, BoxFuture<'static, ()>)>,
    dead: bool,
    /// The call at which the event came.
    came: Option<&'static str>,
    /// Calls of each name.
    counts: BTreeMap<&'static str, usize>,
}

impl Faults {
    /// How often each call came since this was asked last.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        std::mem::take(&mut lock(&self.plan).counts).into_iter().collect()
    }

    /// Lets `event` come at the `n`-th call from here on.
    pub fn at(&self, n: usize, event: Event) {
        let mut plan = lock(&self.plan);
        *plan = Plan {
            event: Some((n, event)),
            ..Plan::default()
        };
    }

    /// Does `first` before the `n`-th call of this name from here on.
    pub fn before(&self, n: usize, call: &'static str, first: BoxFuture<'static, ()>) {
        *lock(&self.plan) = Plan {
            before: Some((n, call, first)),
            ..Plan::default()
        };
    }

    /// Lets every further call through; the name of the call at which the event came, if it did.
    pub fn heal(&self) -> Option<&'static str> {
        std::mem::take(&mut *lock(&self.plan)).came
    }

    /// The same stores, watched.
    pub fn watch(self: &Arc<Self>, stores: IngestStores) -> IngestStores {
        let faults = self;
        IngestStores {
            catalogue: Arc::new(Watched {
                faults: faults.clone(),
                inner: stores.catalogue,
            }),
            index: Arc::new(Watched {
                faults: faults.clone(),
                inner: stores.index,
            }),
            blobs: Arc::new(Watched {
                faults: faults.clone(),
                inner: stores.blobs,
            }),
            parser: stores.parser,
            embeddings: stores.embeddings.map(|inner| {
                let faults = faults.clone();
                Arc::new(Watched { faults, inner }) as Arc<dyn EmbeddingCache>
            }),
        }
    }

    fn next(&self, name: &'static str) -> Option<Event> {
        let mut plan = lock(&self.plan);
        plan.calls += 1;
        *plan.counts.entry(name).or_default() += 1;
        if plan.dead {
            return Some(Event::Fails(Fault::Dead));
        }
        let has_come = |(left, call, _): &mut (usize, &'static str, _)| {
            *left -= usize::from(*call == name);
            *left == 0
        };
        if let Some((_, _, first)) = plan.before.take_if(has_come) {
            plan.came = Some(name);
            return Some(Event::After(first));
        }
        let calls = plan.calls;
        let (_, event) = plan.event.take_if(|(n, _)| *n == calls)?;
        plan.came = Some(name);
        plan.dead = matches!(event, Event::Fails(Fault::Dead));
        Some(event)
    }

    async fn call<T, E: Broken>(&self, name: &'static str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match self.next(name) {
            None => work.await,
            Some(Event::After(first)) => {
                first.await;
                work.await
            }
            Some(Event::Fails(Fault::Lost)) => {
                work.await?;
                Err(E::broken(name))
            }
            Some(Event::Fails(Fault::Refused | Fault::Dead)) => Err(E::broken(name)),
        }
    }
}

/// An error that may pass.
trait Broken {
    fn broken(name: &str) -> Self;
}

impl Broken for CatalogueError {
    fn broken(name: &str) -> Self {
        Self::Unavailable { detail: name.into() }
    }
}

impl Broken for EmbeddingCacheError {
    fn broken(name: &str) -> Self {
        Self { detail: name.into() }
    }
}

impl Broken for IndexError {
    fn broken(name: &str) -> Self {
        Self::Unavailable { detail: name.into() }
    }
}

impl Broken for object_store::Error {
    fn broken(name: &str) -> Self {
        Self::Generic {
            store: "watched",
            source: name.into(),
        }
    }
}

struct Watched<T: ?Sized> {
    faults: Arc<Faults>,
    inner: Arc<T>,
}

impl<T: ?Sized> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

impl<T: ?Sized> std::fmt::Display for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("watched")
    }
}

macro_rules! watched {
    ($seam:ident of $whole:ident, $error:ty: $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        #[async_trait]
        impl $seam for Watched<dyn $whole> {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, $error> {
                self.faults.call(stringify!($name), self.inner.$name($($argument),*)).await
            })+
        }
    };
}

watched! { ConsistencyScan of Catalogue, CatalogueError:
    fn list_document_refs(after: Option<DocumentId>, limit: usize) -> Vec<DocumentRefs>;
    fn get_document_refs(documents: &[DocumentId]) -> Vec<DocumentRefs>;
    fn queue_repair(document: DocumentId, pipeline: &str, job: JobId, now: OffsetDateTime) -> Option<Job>;
    fn find_miscounted_tenants() -> Vec<TenantId>;
    fn recount_term_statistics() -> ();
    fn highest_generation() -> Generation;
}

watched! { ManifestStore of Catalogue, CatalogueError:
    fn get_manifest(document: DocumentId) -> Option<DocumentManifest>;
    fn recover_document(manifest: &DocumentManifest) -> bool;
    fn raise_generation(to: Generation) -> ();
}

watched! { AttachmentStore of Catalogue, CatalogueError:
    fn begin_attachment(lease: &JobLease, attachment: NewAttachment, job: JobId, now: OffsetDateTime) -> BeginOutcome;
    fn list_attachments(document: DocumentId) -> Vec<AttachedDocument>;
    fn remove_attachment(lease: &JobLease, document: DocumentId, job: JobId, now: OffsetDateTime) -> Option<Job>;
}

watched! { Catalogue of Catalogue, CatalogueError:
    fn begin_version(scope: &Scope, version: NewVersion, job: JobId, now: OffsetDateTime) -> BeginOutcome;
    fn queue_reingest(scope: &Scope, document: DocumentId, pipeline: &str, job: JobId, now: OffsetDateTime) -> Option<Job>;
    fn patch_document(scope: &Scope, document: DocumentId, patch: DocumentPatch, now: OffsetDateTime) -> Option<Document>;
    fn tombstone_document(scope: &Scope, document: DocumentId, job: JobId, now: OffsetDateTime) -> Option<Job>;
    fn claim_job(worker: WorkerId, lease: Duration, now: ClockReading) -> Option<ClaimedJob>;
    fn extend_lease(lease: &JobLease, extend: Duration, now: ClockReading) -> Duration;
    fn requeue_interrupted_jobs(now: ClockReading) -> u64;
    fn release_job(lease: &JobLease, now: OffsetDateTime) -> ();
    fn mark_original_stored(lease: &JobLease) -> ();
    fn locate_original(document: DocumentId) -> Option<OriginalLocation>;
    fn record_progress(lease: &JobLease, progress: JobProgress, now: ClockReading) -> ();
    fn publish_version(lease: &JobLease, version: PublishedVersion, now: OffsetDateTime) -> PublishOutcome;
    fn fail_job(lease: &JobLease, error: JobError, now: OffsetDateTime) -> ();
    fn schedule_retry(lease: &JobLease, error: JobError, wait: RetryDelay, now: ClockReading) -> ();
    fn finish_purge(lease: &JobLease, now: OffsetDateTime) -> ();
    fn requeue_job(scope: &Scope, job: JobId, now: OffsetDateTime) -> Option<RequeueOutcome>;
    fn cancel_job(scope: &Scope, job: JobId, now: OffsetDateTime) -> Option<Job>;
    fn get_document(scope: &Scope, document: DocumentId) -> Option<Document>;
    fn list_documents(scope: &Scope, filter: &DocumentFilter, page: &PageRequest) -> ListPage<Document>;
    fn list_failed_documents(tenant: &TenantId, source: &SourceName, limit: usize) -> FailedDocuments;
    fn list_tenants() -> Vec<TenantId>;
    fn documents_unchecked(documents: &[DocumentId]) -> Vec<Document>;
    fn get_document_access(documents: &[DocumentId]) -> Vec<DocumentAccess>;
    fn get_document_labels(scope: &Scope, documents: &[DocumentId]) -> Vec<DocumentLabel>;
    fn get_job(scope: &Scope, job: JobId) -> Option<Job>;
    fn list_jobs(scope: &Scope, filter: &JobFilter, page: &PageRequest) -> ListPage<Job>;
    fn count_jobs(tenant: &TenantId) -> JobCounts;
    fn remove_ended_jobs(before: OffsetDateTime, most: usize) -> u64;
    fn term_statistics(tenant: &TenantId, terms: &[TermId]) -> TermStatistics;
    fn piece_frequencies(tenant: &TenantId, pieces: &[u32]) -> Vec<u64>;
    fn get_setting(key: &str) -> Option<String>;
    fn set_setting(key: &str, value: &str) -> ();
}

watched! { EmbeddingCache of EmbeddingCache, EmbeddingCacheError:
    fn get_embeddings(fingerprint: &str, document: DocumentId, keys: &[EmbeddingKey]) -> Vec<Option<StoredEmbedding>>;
    fn put_embeddings(fingerprint: &str, document: DocumentId, entries: Vec<(EmbeddingKey, StoredEmbedding)>) -> ();
    fn remove_document(document: DocumentId) -> ();
    fn list_documents() -> Vec<DocumentId>;
}

watched! { VectorIndex of VectorIndex, IndexError:
    fn prepare_index(spec: &IndexSpec) -> ();
    fn upsert_points(points: Vec<IndexPoint>) -> ();
    fn publish_generation(document: DocumentId, generation: Generation) -> ();
    fn delete_generation(document: DocumentId, generation: Generation) -> ();
    fn set_access(
        document: DocumentId, generation: Generation, acl: &Acl, acl_revision: u64, fields: &DocumentMetadata
    ) -> ();
    fn search(query: &ScopedQuery<IndexQuery>) -> IndexHits;
    fn get_chunks(scope: &Scope, points: &[PointId], with_tokens: bool) -> Vec<StoredChunk>;
    fn list_chunks(
        scope: &Scope, document: DocumentId, generation: Generation, from: u32, limit: usize
    ) -> Vec<StoredChunk>;
    fn count_points() -> u64;
    fn list_generations(document: Option<DocumentId>) -> Vec<(DocumentGeneration, u64)>;
}

type Stored<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for Watched<dyn ObjectStore> {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Stored<PutResult> {
        self.faults.call("put", self.inner.put_opts(at, payload, options)).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Stored<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(at, options);
        let inner = self.faults.call("put_multipart", begun).await?;
        let faults = self.faults.clone();
        Ok(Box::new(WatchedUpload { faults, inner }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Stored<GetResult> {
        self.faults.call("get", self.inner.get_opts(at, options)).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Stored<Path>>) -> BoxStream<'static, Stored<Path>> {
        let (faults, inner) = (self.faults.clone(), self.inner.clone());
        let delete = move |key: Stored<Path>| {
            let (faults, inner) = (faults.clone(), inner.clone());
            async move {
                let key = key?;
                faults.call("delete_blob", inner.delete(&key)).await?;
                Ok(key)
            }
        };
        keys.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Stored<ObjectMeta>> {
        let (faults, listed) = (self.faults.clone(), self.inner.list(prefix));
        let begin = async move {
            match faults.call("list", async { Ok::<_, object_store::Error>(()) }).await {
                Ok(()) => listed,
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        begin.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Stored<ListResult> {
        let listed = self.inner.list_with_delimiter(prefix);
        self.faults.call("list_with_delimiter", listed).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Stored<()> {
        let copied = self.inner.copy_opts(from, to, options);
        self.faults.call("copy", copied).await
    }
}

struct WatchedUpload {
    faults: Arc<Faults>,
    inner: Box<dyn MultipartUpload>,
}

impl std::fmt::Debug for WatchedUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WatchedUpload")
    }
}

#[async_trait]
impl MultipartUpload for WatchedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (faults, part) = (self.faults.clone(), self.inner.put_part(data));
        async move { faults.call("put_part", part).await }.boxed()
    }

    async fn complete(&mut self) -> Stored<PutResult> {
        let completed = self.inner.complete();
        self.faults.call("complete", completed).await
    }

    async fn abort(&mut self) -> Stored<()> {
        let aborted = self.inner.abort();
        self.faults.call("abort", aborted).await
    }
}
