//! Embedding and storing a version batch by batch.
//!
//! Invariant: a batch is stored only when all before it are, and nothing is being stored when an error is returned; what
//! is held are a few batches, however long the text.

use futures::channel::mpsc;
use futures::future::try_join;
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::documents::DocumentPipeline;
use super::embedding::{CachedEmbedder, ChunkEmbedding};
use super::pipeline::IngestPipeline;
use super::read::NumberedSegment;
use super::statistics::TermCounter;
use super::trouble::StepError;
use super::vector_report::{VectorCoverage, VectorReport};
use crate::document::{Chunk, JobStage};
use crate::id::{ChunkId, PointId};
use crate::library::spelling_statistics;
use crate::library::text::StoredText;
use crate::rank::bm25::sparse_vector;
use crate::rank::gate::{GATE_CHARACTERS, document_gate};
use crate::seam::catalogue::{ClaimedJob, StatisticsDelta};
use crate::seam::index::IndexPoint;
use crate::seam::{Embedder, VectorIndex};

/// Batches at the embedder's door: while it works on one, the next was read and split and waits there.
pub(super) const EMBEDDING_BATCHES: usize = 2;
/// Embedded batches that wait while one is stored, besides the one that the sender holds.
pub(super) const WAITING_BATCHES: usize = 1;

impl DocumentPipeline {
    /// Stores every chunk as a point of the lease's generation, not visible yet; gives what the version adds to the
    /// statistics, and what is to be told of its vectors. Reading, embedding and storing go on at the same time, a few
    /// batches apart.
    pub(super) async fn embed_and_store(
        &self,
        claim: &ClaimedJob,
        pipeline: &IngestPipeline,
        text: &StoredText<'_>,
        title: &str,
        chunks: u32,
    ) -> Result<(StatisticsDelta, VectorReport), StepError> {
        self.leases
            .report_progress(&claim.lease, JobStage::Embed, 0, chunks.into())
            .await?;
        let index = pipeline.index().unwrap_or(self.context.stores.index.as_ref());
        index.prepare_index(&pipeline.index_spec()).await?;
        let version = &VersionContext {
            embeddings: &self.embeddings,
            claim,
            pipeline,
            title,
        };
        let read = self.stream_batches(pipeline, text);
        let embedded = read
            .map_err(StepError::from)
            .map_ok(|batch| version.embed_batch(batch))
            .try_buffered(EMBEDDING_BATCHES);
        let (sender, embedded_batches) = mpsc::channel(WAITING_BATCHES);
        // A receiver that is gone has failed, and says why itself.
        let embed = embedded.map(Ok).forward(sender).map(|_| Ok(()));
        let store = self.store_batches(claim, index, embedded_batches, chunks.into());
        let ((), stored) = try_join(embed, store).await?;
        Ok(stored)
    }

    /// Stores batches one by one, in their order.
    async fn store_batches(
        &self,
        claim: &ClaimedJob,
        index: &dyn VectorIndex,
        mut batches: mpsc::Receiver<Result<Vec<EmbeddedChunk>, StepError>>,
        total: u64,
    ) -> Result<(StatisticsDelta, VectorReport), StepError> {
        let (mut counter, mut done) = (TermCounter::default(), 0);
        let mut report = VectorReport::default();
        while let Some(batch) = batches.next().await.transpose()? {
            let mut points = Vec::with_capacity(batch.len());
            for chunk in batch {
                counter.add_chunk(&chunk.point.lexical, &chunk.pieces);
                report.add_chunk(chunk.point.chunk.page, chunk.vector);
                points.push(chunk.point);
            }
            done += points.len() as u64;
            self.leases
                .uncancellable(&claim.lease, index.upsert_points(points))
                .await?;
            self.leases
                .report_progress(&claim.lease, JobStage::Embed, done, total)
                .await?;
        }
        Ok((counter.into_delta(), report))
    }
}

/// A chunk with all that is stored and counted of it.
struct EmbeddedChunk {
    point: IndexPoint,
    /// Ids of its wordpieces.
    pieces: Vec<u32>,
    vector: VectorCoverage,
}

/// What all points of a version have in common.
struct VersionContext<'a> {
    embeddings: &'a CachedEmbedder,
    claim: &'a ClaimedJob,
    pipeline: &'a IngestPipeline,
    title: &'a str,
}

impl VersionContext<'_> {
    async fn embed_batch(&self, batch: Vec<NumberedSegment>) -> Result<Vec<EmbeddedChunk>, StepError> {
        let embeddings = self.embed_texts(&batch).await?;
        let embedded = batch.into_iter().zip(embeddings).map(|(numbered, embedding)| {
            let (mut point, mut pieces) = (self.build_point(numbered), Vec::new());
            let vector = embedding
                .as_ref()
                .map_or(VectorCoverage::Whole, VectorCoverage::from_embedding);
            if let Some(embedding) = embedding.and_then(ChunkEmbedding::into_stored) {
                (point.dense, point.tokens) = (Some(embedding.vector), embedding.tokens);
                pieces = embedding.pieces;
            }
            EmbeddedChunk { point, pieces, vector }
        });
        Ok(embedded.collect())
    }

    /// What each chunk's embedder made of it; none for any of them where there is no embedder.
    async fn embed_texts(&self, batch: &[NumberedSegment]) -> Result<Vec<Option<ChunkEmbedding>>, StepError> {
        let Some(embedder) = self.pipeline.embedder() else {
            return Ok(batch.iter().map(|_| None).collect());
        };
        let texts: Vec<&str> = batch.iter().map(|numbered| numbered.segment.text.as_str()).collect();
        let made = self
            .embeddings
            .embed_with_cache(
                embedder.as_ref(),
                (&self.claim.document.acl.tenant, self.claim.document.id),
                &title_prefix(self.claim.given_title.as_deref()),
                &texts,
            )
            .await?;
        Ok(made.into_iter().map(Some).collect())
    }

    /// The point of a chunk, without its vectors.
    fn build_point(&self, numbered: NumberedSegment) -> IndexPoint {
        let (document, lease) = (&self.claim.document, &self.claim.lease);
        let lexical = sparse_vector(&self.searchable_title(), &numbered.page.text, numbered.range_in_page());
        let NumberedSegment { ordinal, segment, .. } = numbered;
        let id = ChunkId::from_ordinal(
            lease.document,
            &document.content_hash,
            self.pipeline.fingerprint(),
            ordinal,
        );
        let chunk = Chunk {
            id,
            document_id: lease.document,
            ordinal,
            text: segment.text,
            range: segment.range,
            page: segment.page,
            section: segment.section,
        };
        let embedder = self.pipeline.embedder().map(|embedder| embedder.as_ref());
        IndexPoint {
            id: PointId::from_chunk(id, lease.generation),
            collection: document.collection.clone(),
            generation: lease.generation,
            acl: document.acl.clone(),
            acl_revision: document.acl_revision,
            fields: document.filter_fields(),
            dense: None,
            lexical,
            gate: reading_gate(embedder, &chunk.text),
            tokens: None,
            chunk,
        }
    }

    /// What people call the document: its title and, unless a caller gave that, the file's name. A title of a file often
    /// lacks what tells it from its other editions.
    fn searchable_title(&self) -> String {
        let stem = self.claim.file_stem();
        match self.claim.given_title.is_some() || self.title.contains(stem) {
            true => self.title.to_owned(),
            false => format!("{} {stem}", self.title),
        }
    }
}

/// The encoder sees a title that a caller gave; a file's name or own title is mostly noise to it.
pub(super) fn title_prefix(given_title: Option<&str>) -> String {
    match given_title {
        Some(title) if !title.trim().is_empty() => format!("{title} "),
        _ => String::new(),
    }
}

/// How well the encoder reads a chunk, by its beginning.
pub(super) fn reading_gate(embedder: Option<&dyn Embedder>, text: &str) -> f32 {
    let end = text
        .char_indices()
        .nth(GATE_CHARACTERS)
        .map_or(text.len(), |(end, _)| end);
    let head = &text[..end];
    let reading = match embedder {
        Some(embedder) => embedder.word_statistics(head),
        None => Some(spelling_statistics(head)),
    };
    reading.map_or(1.0, document_gate) as f32
}
