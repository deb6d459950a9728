//! Reads the candidates that may be shown, and builds passages from them.
//!
//! Invariant: what is read is checked against the scope a second time, by the index and by the catalogue; what either
//! of them leaves out is not shown. Texts are read for what is shown, and for what late interaction compares.

use std::collections::HashMap;

use super::question::PreparedQuestion;
use super::search::{ConfidenceScores, SearchRequest, max_candidates_read};
use super::{Library, LibraryError, Passage, PassageRanks, PassageSentence};
use crate::access::{Admitted, Scope};
use crate::id::{ChunkId, DocumentId};
use crate::rank::fusion::RankedHit;
use crate::rank::late::late_interaction;
use crate::rank::near_duplicate::DuplicateFilter;
use crate::rank::sentence::{best_sentences, best_sentences_by_words};
use crate::rank::token_bits::TokenBits;
use crate::seam::catalogue::DocumentLabel;
use crate::seam::index::{IndexHit, SearchMode, StoredChunk};

/// Reader for the candidates of one search, with what it has read of them.
pub(super) struct PassageReader<'a> {
    library: &'a Library,
    scope: &'a Scope,
    request: &'a SearchRequest,
    question: &'a PreparedQuestion,
    hits: HashMap<ChunkId, &'a IndexHit>,
    stored: HashMap<ChunkId, StoredChunk>,
    tokens: HashMap<ChunkId, TokenBits>,
    labels: HashMap<DocumentId, DocumentLabel>,
}

impl<'a> PassageReader<'a> {
    pub fn new(
        library: &'a Library,
        scope: &'a Scope,
        request: &'a SearchRequest,
        question: &'a PreparedQuestion,
        hits: &'a [IndexHit],
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

    /// Reads the best candidates with their token vectors, and re-orders them by late interaction in a hybrid search.
    pub async fn read_and_order(
        &mut self,
        fused: Vec<RankedHit<ChunkId>>,
        gate: f64,
        evidence: &mut ConfidenceScores,
    ) -> Result<Vec<RankedHit<ChunkId>>, LibraryError> {
        let best = &fused[..fused.len().min(max_candidates_read(self.request))];
        self.stored = self.read_chunks(best).await?;
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

    /// The passages to show, best first, up to the limit. If the request collapses near copies of better passages, the
    /// candidates that may replace them are read in one more round.
    pub async fn select_passages(
        &mut self,
        ranked: &[RankedHit<ChunkId>],
        ranks: impl Fn(&ChunkId) -> PassageRanks,
    ) -> Result<Vec<Admitted<Passage>>, LibraryError> {
        let limit = self.request.limit;
        let (first, more) = ranked.split_at(ranked.len().min(limit));
        let more = &more[..more.len().min(max_candidates_read(self.request).saturating_sub(limit))];
        let mut passages = Vec::with_capacity(first.len());
        let mut without = DuplicateFilter::default();
        for step in [first, more] {
            if passages.len() == limit || step.is_empty() {
                break;
            }
            self.read_candidates(step).await?;
            for RankedHit { id, score } in step {
                let Some(stored) = self.stored.remove(id).filter(|_| passages.len() < limit) else {
                    continue;
                };
                let Some(label) = self.labels.get(&stored.chunk.document_id) else {
                    continue;
                };
                if !self.request.collapse || without.keep_if_new(&stored.chunk.text) {
                    passages.push(self.build_passage(*score, ranks(id), stored, label));
                }
            }
        }
        Ok(passages)
    }

    /// Reads the labels of some candidates' documents and, unless they were read before, their chunks.
    async fn read_candidates(&mut self, ranked: &[RankedHit<ChunkId>]) -> Result<(), LibraryError> {
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
                false => self.read_chunks(ranked).await,
            }
        };
        let labels = self.library.catalogue.get_document_labels(self.scope, &documents);
        let (chunks, labels) = futures::join!(chunks, labels);
        self.stored.extend(chunks?);
        self.labels.extend(labels?.into_iter().map(|label| (label.id, label)));
        Ok(())
    }

    async fn read_chunks(&self, ranked: &[RankedHit<ChunkId>]) -> Result<HashMap<ChunkId, StoredChunk>, LibraryError> {
        let points: Vec<_> = ranked.iter().map(|ranked| self.hits[&ranked.id].point).collect();
        let with_tokens = self.question.late.is_some();
        let index = &self.question.index;
        let mut stored = index.get_chunks(self.scope, &points, with_tokens).await?;
        stored.retain(|chunk| {
            let hit = self.hits.get(&chunk.chunk.id);
            hit.is_some_and(|hit| hit.generation == chunk.generation && hit.document == chunk.chunk.document_id)
        });
        Ok(stored.into_iter().map(|chunk| (chunk.chunk.id, chunk)).collect())
    }

    fn build_passage(
        &self,
        score: f64,
        ranks: PassageRanks,
        stored: StoredChunk,
        label: &DocumentLabel,
    ) -> Admitted<Passage> {
        let sentences = match self.request.sentences {
            true => self.score_sentences(&stored, score),
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

    fn score_sentences(&self, stored: &StoredChunk, score: f64) -> Vec<PassageSentence> {
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
            .map(|sentence| PassageSentence {
                range: sentence.range,
                score: sentence.score,
            })
            .collect()
    }
}
