//! Index in a Qdrant server (gRPC), for libraries too large for one process.
//!
//! Invariant: Qdrant computes no statistics. It multiplies the vectors that it is given; weights, idf, gates and the
//! order of ties are computed here, so an answer equals that of the embedded index.

mod batches;
mod bounds;
mod collection;
mod error;
mod exact;
mod facts;
mod filter;
mod leg;
mod lists;
mod memory;
mod options;
mod payload;
mod query;
mod rounds;
mod scope;
mod search;
mod server;
mod sizes;
mod stored;
#[cfg(feature = "testing")]
pub mod testing;
mod whole;

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::{
    Condition, DeletePoints, Filter, GetPoints, OrderBy, PointStruct, PointsSelector, Range, RetrievedPoint,
    ScrollPoints, SetPayloadPoints, UpdateMode, UpsertPoints,
};
use ragstone_core::access::{Acl, Scope, ScopedQuery};
use ragstone_core::document::DocumentMetadata;
use ragstone_core::id::{DocumentId, Generation, PointId};
use ragstone_core::seam::index::{
    DocumentGeneration, IndexError, IndexHits, IndexPoint, IndexQuery, IndexSpec, StoredChunk, VectorIndex,
};

use crate::index::fit::{check_length, check_points};
use batches::split_into_batches;
use memory::SearchCache;
pub use options::{ApiKey, QdrantOptions};
use payload::{ACL, DOCUMENT, GENERATION, LIVE, ORDINAL, PayloadReader, PointPayload, STORED, STORED_MORE};
use query::include_fields;
use search::QdrantSearch;
use server::QdrantClient;

/// Most ids per read request.
const MAX_IDS: usize = 1_000;
/// Points per page of a scan over all points.
const PAGE: u32 = 5_000;

/// Index whose points are in a collection of a Qdrant server.
pub struct QdrantIndex {
    server: QdrantClient,
    /// Spec of the collection, once it was read.
    spec: RwLock<Option<IndexSpec>>,
    cache: SearchCache,
}

impl QdrantIndex {
    /// An index with these `options`. Connects at first use.
    ///
    /// # Errors
    /// [`IndexError::Mismatch`] names the option that is wrong.
    pub fn new(options: QdrantOptions) -> Result<Self, IndexError> {
        Ok(Self {
            server: QdrantClient::new(options)?,
            spec: RwLock::new(None),
            cache: SearchCache::default(),
        })
    }

    /// Version that the server reports.
    ///
    /// # Errors
    /// [`IndexError::Unavailable`] if the server does not answer.
    pub async fn server_version(&self) -> Result<String, IndexError> {
        collection::fetch_version(&self.server).await
    }

    /// Number of rounds of requests that searches made so far; concurrent requests are one round.
    #[cfg(feature = "testing")]
    pub fn search_rounds(&self) -> u64 {
        self.cache.round_count()
    }

    /// Spec of the collection; `None` while there is no collection.
    async fn collection_spec(&self) -> Result<Option<IndexSpec>, IndexError> {
        if let Some(spec) = self.spec.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(Some(spec));
        }
        let spec = collection::read_spec(&self.server).await?;
        if let Some(spec) = &spec {
            self.cache_spec(spec.clone());
        }
        Ok(spec)
    }

    fn cache_spec(&self, spec: IndexSpec) {
        *self.spec.write().unwrap_or_else(PoisonError::into_inner) = Some(spec);
    }

    async fn store_points(&self, points: Vec<PointStruct>) -> Result<(), IndexError> {
        let request = UpsertPoints {
            collection_name: self.server.collection_name(),
            wait: Some(true),
            points,
            // Insert only: an existing point may be visible already and must not be overwritten.
            update_mode: Some(UpdateMode::InsertOnly.into()),
            ..UpsertPoints::default()
        };
        let answer = self.server.send_change("storing points", |client| {
            let request = request.clone();
            async move { client.upsert_points(request).await }
        });
        answer.await
    }

    async fn set_payload(
        &self,
        what: &str,
        (document, generation): DocumentGeneration,
        payload: PointPayload,
    ) -> Result<(), IndexError> {
        let request = SetPayloadPoints {
            collection_name: self.server.collection_name(),
            wait: Some(true),
            payload,
            points_selector: Some(select_points(scope::generation_filter(document, generation))),
            ..SetPayloadPoints::default()
        };
        let answer = self.server.send_change(what, |client| {
            let request = request.clone();
            async move { client.set_payload(request).await }
        });
        answer.await
    }

    async fn get_points(&self, points: &[PointId], fields: Vec<&str>) -> Result<Vec<RetrievedPoint>, IndexError> {
        let request = GetPoints {
            collection_name: self.server.collection_name(),
            ids: points.iter().copied().map(payload::qdrant_id).collect(),
            with_payload: Some(include_fields(fields)),
            ..GetPoints::default()
        };
        let answer = self.server.send_read("reading points", |client| {
            let request = request.clone();
            async move { client.get_points(request).await }
        });
        Ok(answer.await?.result)
    }
}

fn select_points(filter: Filter) -> PointsSelector {
    PointsSelector {
        points_selector_one_of: Some(PointsSelectorOneOf::Filter(filter)),
    }
}

fn admitted_chunks(scope: &Scope, found: &[RetrievedPoint], with_tokens: bool) -> Result<Vec<StoredChunk>, IndexError> {
    let mut chunks = Vec::with_capacity(found.len());
    for found in found {
        let reading = PayloadReader::new(payload::parse_point_id(found.id.as_ref())?, &found.payload);
        if reading.is_live() && scope.admits(&reading.read_acl(ACL)?) {
            chunks.push(reading.read_stored_chunk(with_tokens)?);
        }
    }
    Ok(chunks)
}

fn payload_fields(with_tokens: bool) -> Vec<&'static str> {
    let more = if with_tokens {
        STORED_MORE.len()
    } else {
        STORED_MORE.len() - 1
    };
    STORED.into_iter().chain(STORED_MORE.into_iter().take(more)).collect()
}

#[async_trait]
impl VectorIndex for QdrantIndex {
    async fn prepare_index(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        collection::ensure_collection(&self.server, spec).await?;
        self.cache_spec(spec.clone());
        Ok(())
    }

    async fn upsert_points(&self, points: Vec<IndexPoint>) -> Result<(), IndexError> {
        let spec = self.collection_spec().await?;
        check_points(spec.as_ref(), &points)?;
        for batch in split_into_batches(&points) {
            let points: Result<Vec<PointStruct>, IndexError> = batch.iter().map(payload::to_point_struct).collect();
            self.store_points(points?).await?;
        }
        Ok(())
    }

    async fn publish_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        let live = PointPayload::from([(LIVE.to_owned(), true.into())]);
        self.set_payload("publishing", (document, generation), live).await
    }

    async fn delete_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        // Without a collection there is nothing to delete.
        if self.collection_spec().await?.is_none() {
            return Ok(());
        }
        let request = DeletePoints {
            collection_name: self.server.collection_name(),
            wait: Some(true),
            points: Some(select_points(scope::generation_filter(document, generation))),
            ..DeletePoints::default()
        };
        let answer = self.server.send_change("deleting points", |client| {
            let request = request.clone();
            async move { client.delete_points(request).await }
        });
        answer.await?;
        self.cache.facts.forget_generation((document, generation));
        Ok(())
    }

    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &DocumentMetadata,
    ) -> Result<(), IndexError> {
        let access = payload::access_payload(acl, acl_revision, fields)?;
        self.set_payload("setting access", (document, generation), access)
            .await?;
        self.cache.facts.forget_generation((document, generation));
        Ok(())
    }

    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<IndexHits, IndexError> {
        // Without a collection nothing was ever stored.
        let Some(spec) = self.collection_spec().await? else {
            return Ok(IndexHits::default());
        };
        let dense = query.query().dense.as_deref().filter(|_| spec.dimensions.is_some());
        if let Some(vector) = dense {
            check_length(spec.dimensions, vector)?;
        }
        QdrantSearch::new(&self.server, &self.cache, query, dense)
            .run_search()
            .await
    }

    async fn get_chunks(
        &self,
        scope: &Scope,
        points: &[PointId],
        with_tokens: bool,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        let mut chunks = Vec::new();
        for points in points.chunks(MAX_IDS) {
            let found = self.get_points(points, payload_fields(with_tokens)).await?;
            chunks.extend(admitted_chunks(scope, &found, with_tokens)?);
        }
        Ok(chunks)
    }

    async fn list_chunks(
        &self,
        scope: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut filter = scope::visible_filter(scope);
        filter.must.extend(scope::generation_filter(document, generation).must);
        let from = Range {
            gte: Some(f64::from(from)),
            ..Range::default()
        };
        filter.must.push(Condition::range(ORDINAL, from));
        let request = ScrollPoints {
            collection_name: self.server.collection_name(),
            filter: Some(filter),
            limit: Some(u32::try_from(limit).unwrap_or(u32::MAX)),
            with_payload: Some(include_fields(payload_fields(false))),
            order_by: Some(OrderBy {
                key: ORDINAL.to_owned(),
                ..OrderBy::default()
            }),
            ..ScrollPoints::default()
        };
        let answer = self.server.send_read("reading chunks", |client| {
            let request = request.clone();
            async move { client.scroll(request).await }
        });
        admitted_chunks(scope, &answer.await?.result, false)
    }

    async fn count_points(&self) -> Result<u64, IndexError> {
        collection::count_points(&self.server).await
    }

    async fn list_generations(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        if collection::read_spec(&self.server).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut request = ScrollPoints {
            collection_name: self.server.collection_name(),
            filter: document.map(scope::document_filter),
            limit: Some(PAGE),
            with_payload: Some(include_fields(vec![DOCUMENT, GENERATION])),
            ..ScrollPoints::default()
        };
        let mut counts: BTreeMap<DocumentGeneration, u64> = BTreeMap::new();
        loop {
            let answer = self.server.send_read("listing generations", |client| {
                let request = request.clone();
                async move { client.scroll(request).await }
            });
            let page = answer.await?;
            for found in &page.result {
                let reading = PayloadReader::new(payload::parse_point_id(found.id.as_ref())?, &found.payload);
                *counts
                    .entry((reading.read_document_id()?, reading.read_generation()?))
                    .or_default() += 1;
            }
            match page.next_page_offset {
                Some(next) => request.offset = Some(next),
                None => return Ok(counts.into_iter().collect()),
            }
        }
    }
}
