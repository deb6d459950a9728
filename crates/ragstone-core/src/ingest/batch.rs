//! Embedding and storing a version batch by batch.

use std::ops::Range;

use super::statistics::Counter;
use super::{Ingestor, Numbered, Pipeline, Trouble};
use crate::document::{Chunk, ParsedDocument, Stage};
use crate::id::{ChunkId, PointId};
use crate::library::spelled;
use crate::rank::bm25::sparse_vector;
use crate::rank::gate::{GATE_CHARACTERS, gate_document};
use crate::seam::Embedder;
use crate::seam::catalogue::{Claim, StatisticsDelta};
use crate::seam::embedding_cache::StoredEmbedding;
use crate::seam::index::Point;
use crate::split::Segment;

impl Ingestor {
    /// Stores every segment as a point of the lease's generation, not visible yet; gives what the version adds to the
    /// statistics.
    pub(super) async fn embed(
        &self,
        claim: &Claim,
        pipeline: &Pipeline,
        parsed: &ParsedDocument,
        title: &str,
        segments: &[Segment],
    ) -> Result<StatisticsDelta, Trouble> {
        let version = Version {
            claim,
            pipeline,
            parsed,
            title,
        };
        let (mut counter, mut done, total) = (Counter::default(), 0, segments.len() as u64);
        self.note(&claim.lease, Stage::Embed, 0, total).await?;
        self.stores.index.ensure(&pipeline.index_spec()).await?;
        for batch in self.batches(segments) {
            let embeddings = version.embeddings(self, &batch).await?;
            let mut points = Vec::with_capacity(batch.len());
            for (numbered, embedding) in batch.iter().zip(embeddings) {
                let pieces = embedding.as_ref().map_or(&[][..], |embedding| &embedding.pieces);
                let mut point = version.point(numbered);
                counter.add(&point.lexical, pieces);
                if let Some(embedding) = embedding {
                    (point.dense, point.tokens) = (Some(embedding.vector), embedding.tokens);
                }
                points.push(point);
            }
            self.stores.index.upsert(points).await?;
            done += batch.len() as u64;
            self.note(&claim.lease, Stage::Embed, done, total).await?;
        }
        Ok(counter.into_delta())
    }

    /// Batches end by number and by bytes.
    fn batches<'a>(&self, segments: &'a [Segment]) -> Vec<Vec<Numbered<'a>>> {
        let mut batches: Vec<Vec<Numbered<'a>>> = Vec::new();
        let mut bytes = 0;
        for (ordinal, segment) in (0..).zip(segments) {
            bytes += segment.text.len();
            let numbered = Numbered { ordinal, segment };
            match batches.last_mut() {
                Some(batch)
                    if batch.len() < self.settings.batch_chunks && bytes <= self.settings.batch_bytes =>
                {
                    batch.push(numbered);
                }
                _ => {
                    bytes = segment.text.len();
                    batches.push(vec![numbered]);
                }
            }
        }
        batches
    }
}

/// What all points of a version have in common.
struct Version<'a> {
    claim: &'a Claim,
    pipeline: &'a Pipeline,
    parsed: &'a ParsedDocument,
    title: &'a str,
}

impl Version<'_> {
    async fn embeddings(
        &self,
        ingestor: &Ingestor,
        batch: &[Numbered<'_>],
    ) -> Result<Vec<Option<StoredEmbedding>>, Trouble> {
        let Some(embedder) = self.pipeline.embedder() else {
            return Ok(batch.iter().map(|_| None).collect());
        };
        let texts: Vec<&str> = batch
            .iter()
            .map(|numbered| numbered.segment.text.as_str())
            .collect();
        let made = ingestor
            .embeddings(embedder.as_ref(), &self.claim.document, &self.prefix(), &texts)
            .await?;
        Ok(made.into_iter().map(Some).collect())
    }

    /// The encoder sees a title that a caller gave; a file's name or own title is mostly noise to it.
    fn prefix(&self) -> String {
        match &self.claim.given_title {
            Some(title) if !title.trim().is_empty() => format!("{title} "),
            _ => String::new(),
        }
    }

    /// The point of a chunk, without its vectors.
    fn point(&self, numbered: &Numbered<'_>) -> Point {
        let (document, lease) = (&self.claim.document, &self.claim.lease);
        let segment = numbered.segment;
        let id = ChunkId::of(
            lease.document,
            &document.content_hash,
            self.pipeline.fingerprint(),
            numbered.ordinal,
        );
        let chunk = Chunk {
            id,
            document_id: lease.document,
            ordinal: numbered.ordinal,
            text: segment.text.clone(),
            range: segment.range.clone(),
            page: segment.page,
            section: segment.section.clone(),
        };
        let (page, within) = self.page_of(&segment.range);
        let lexical = sparse_vector(self.title, page, within);
        let embedder = self.pipeline.embedder().map(|embedder| embedder.as_ref());
        Point {
            id: PointId::of(id, lease.generation),
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

    /// The text of the page that holds `range`, and `range` within it.
    fn page_of(&self, range: &Range<usize>) -> (&str, Range<usize>) {
        let holds = |page: &Range<usize>| page.start <= range.start && range.end <= page.end;
        let page = self
            .parsed
            .pages
            .iter()
            .map(|span| &span.range)
            .find(|page| holds(page));
        let page = page.cloned().unwrap_or(0..self.parsed.text.len());
        (
            &self.parsed.text[page.clone()],
            range.start - page.start..range.end - page.start,
        )
    }
}

fn reading_gate(embedder: Option<&dyn Embedder>, text: &str) -> f32 {
    let end = text
        .char_indices()
        .nth(GATE_CHARACTERS)
        .map_or(text.len(), |(end, _)| end);
    let head = &text[..end];
    let reading = match embedder {
        Some(embedder) => embedder.reads(head),
        None => Some(spelled(head)),
    };
    reading.map_or(1.0, gate_document) as f32
}
