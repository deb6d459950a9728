//! Reads the candidates that may be shown, and makes passages of them.
//!
//! Invariant: what is read goes through the scope a second time, in the index and in the catalogue; what either of them
//! leaves out is not shown. Texts are read for what is shown, and for as many more as late interaction compares.

use std::collections::HashMap;

use super::question::Question;
use super::search::{Evidence, SearchRequest, head};
use super::{Library, LibraryError, Passage, Ranks, Sentence};
use crate::access::{Admitted, Scope};
use crate::id::{ChunkId, DocumentId};
use crate::rank::fusion::Ranked;
use crate::rank::late::late_interaction;
use crate::rank::near_duplicate::WithoutCopies;
use crate::rank::sentence::{best_sentences, best_sentences_by_words};
use crate::rank::token_bits::TokenBits;
use crate::seam::catalogue::DocumentLabel;
use crate::seam::index::{Hit, SearchMode, StoredChunk};

/// What was read of the candidates of one search.
pub(super) struct Reader<'a> {
    library: &'a Library,
    scope: &'a Scope,
    request: &'a SearchRequest,
    question: &'a Question,
    hits: HashMap<ChunkId, &'a Hit>,
    stored: HashMap<ChunkId, StoredChunk>,
    tokens: HashMap<ChunkId, TokenBits>,
    labels: HashMap<DocumentId, DocumentLabel>,
}

impl<'a> Reader<'a> {
    pub fn new(
        library: &'a Library,
        scope: &'a Scope,
        request: &'a SearchRequest,
        question: &'a Question,
        hits: &'a [Hit],
    ) -> Self {
        Self {
            library,
            scope,
            request,
            question,
            hits: hits.iter().map(|hit| (hit.chunk, hit)).collect(),
            stored: HashMap::new(),
            tokens: HashMap::new(),
            labels: HashMap::new(),
        }
    }

    /// Reads the best with their token vectors, and orders them by late interaction where both legs were asked for.
    pub async fn read_and_order(
        &mut self,
        fused: Vec<Ranked<ChunkId>>,
        gate: f64,
        evidence: &mut Evidence,
    ) -> Result<Vec<Ranked<ChunkId>>, LibraryError> {
        let best = &fused[..fused.len().min(head(self.request))];
        self.stored = self.read(best).await?;
        let bits =
            |(id, chunk): (&ChunkId, &StoredChunk)| Some((*id, TokenBits::from_bytes(chunk.tokens.as_ref()?).ok()?));
        self.tokens = self.stored.iter().filter_map(bits).collect();
        let late = self
            .question
            .late
            .as_ref()
            .filter(|_| self.request.mode == SearchMode::Hybrid);
        let mut ranked = match late {
            Some(late) => late_interaction(fused, gate, |id| {
                let maxsim = self.tokens.get(id).map_or(0.0, |bits| late.maxsim(bits));
                evidence.maxsim = Some(evidence.maxsim.unwrap_or(f64::MIN).max(maxsim));
                maxsim
            }),
            None => fused,
        };
        ranked.retain(|hit| self.stored.contains_key(&hit.id));
        Ok(ranked)
    }

    /// The passages that are shown of the ranked, best first: as many as are wanted, without near copies of better ones
    /// where those are left out. What takes their place is read at once.
    pub async fn passages(
        &mut self,
        ranked: &[Ranked<ChunkId>],
        ranks: impl Fn(&ChunkId) -> Ranks,
    ) -> Result<Vec<Admitted<Passage>>, LibraryError> {
        let limit = self.request.limit;
        let (first, more) = ranked.split_at(ranked.len().min(limit));
        let more = &more[..more.len().min(head(self.request).saturating_sub(limit))];
        let mut passages = Vec::with_capacity(first.len());
        let mut without = WithoutCopies::default();
        for step in [first, more] {
            if passages.len() == limit || step.is_empty() {
                break;
            }
            self.read_step(step).await?;
            for Ranked { id, score } in step {
                let Some(stored) = self.stored.remove(id).filter(|_| passages.len() < limit) else {
                    continue;
                };
                let Some(label) = self.labels.get(&stored.chunk.document_id) else {
                    continue;
                };
                if !self.request.collapse || without.stays(&stored.chunk.text) {
                    passages.push(self.passage(*score, ranks(id), stored, label));
                }
            }
        }
        Ok(passages)
    }

    /// Reads the names of some candidates' documents and, unless that was done, their chunks.
    async fn read_step(&mut self, ranked: &[Ranked<ChunkId>]) -> Result<(), LibraryError> {
        let mut documents: Vec<DocumentId> = ranked
            .iter()
            .map(|ranked| self.hits[&ranked.id].document)
            .filter(|id| !self.labels.contains_key(id))
            .collect();
        documents.sort_unstable();
        documents.dedup();
        let chunks = async {
            match self.question.late.is_some() {
                true => Ok(HashMap::new()),
                false => self.read(ranked).await,
            }
        };
        let labels = self.library.catalogue.labels(self.scope, &documents);
        let (chunks, labels) = futures::join!(chunks, labels);
        self.stored.extend(chunks?);
        self.labels.extend(labels?.into_iter().map(|label| (label.id, label)));
        Ok(())
    }

    async fn read(&self, ranked: &[Ranked<ChunkId>]) -> Result<HashMap<ChunkId, StoredChunk>, LibraryError> {
        let points: Vec<_> = ranked.iter().map(|ranked| self.hits[&ranked.id].point).collect();
        let with_tokens = self.question.late.is_some();
        let index = &self.question.index;
        let mut stored = index.chunks(self.scope, &points, with_tokens).await?;
        stored.retain(|chunk| {
            let hit = self.hits.get(&chunk.chunk.id);
            hit.is_some_and(|hit| hit.generation == chunk.generation && hit.document == chunk.chunk.document_id)
        });
        Ok(stored.into_iter().map(|chunk| (chunk.chunk.id, chunk)).collect())
    }

    fn passage(&self, score: f64, ranks: Ranks, stored: StoredChunk, label: &DocumentLabel) -> Admitted<Passage> {
        let sentences = match self.request.sentences {
            true => self.sentences(&stored, score),
            false => Vec::new(),
        };
        Admitted::new(Passage {
            point: stored.point,
            generation: stored.generation,
            collection: stored.collection,
            title: label.title.clone(),
            uri: label.uri.clone(),
            source_url: label.source_url.clone(),
            score,
            ranks,
            sentences,
            chunk: stored.chunk,
        })
    }

    fn sentences(&self, stored: &StoredChunk, score: f64) -> Vec<Sentence> {
        let text = &stored.chunk.text;
        let late = self.question.late.as_ref().zip(self.tokens.get(&stored.chunk.id));
        let scored = match late {
            Some((late, bits)) => best_sentences(text, bits.spans(), score, |rows| {
                late.maxsim_rows(bits, rows.iter().copied())
            }),
            None => best_sentences_by_words(text, &self.question.lexical, score),
        };
        scored
            .into_iter()
            .map(|sentence| Sentence {
                range: sentence.range,
                score: sentence.score,
            })
            .collect()
    }
}
