//! Search: queries both legs, admits and fuses the hits, re-orders them by late interaction, and collapses near copies.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::question::PreparedQuestion;
use super::reader::PassageReader;
use super::{Library, LibraryError, MAX_PASSAGES, MAX_QUESTION_BYTES, MAX_STALE_REPEATS, Passage, PassageRanks};
use crate::access::{Admitted, Scope, ScopedQuery};
use crate::filter::MetadataFilter;
use crate::id::{ChunkId, CollectionName};
use crate::rank::fusion::{
    CANDIDATE_DEPTH, FusionCandidate, RankedHit, fuse_ranked_lists, rank_by_cosine, rank_by_lexical,
};
use crate::rank::late::TOP_LATE;
use crate::seam::index::{DocumentGeneration, IndexHit, IndexQuery, SearchMode};

/// A search as a caller requests it.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// The question, or some words.
    pub query: String,
    /// Most passages, 1 to [`MAX_PASSAGES`].
    pub limit: usize,
    /// Searches only this collection; `None` for all.
    pub collection: Option<CollectionName>,
    /// The caller's filter, which only narrows.
    pub filter: Option<MetadataFilter>,
    /// Which legs are used.
    pub mode: SearchMode,
    /// Whether passages carry their sentences, scored against the question.
    pub sentences: bool,
    /// Whether near copies of better passages are left out.
    pub collapse: bool,
}

impl SearchRequest {
    /// A hybrid search for `query`.
    pub fn new(query: impl Into<String>, limit: usize) -> Self {
        Self {
            query: query.into(),
            limit,
            collection: None,
            filter: None,
            mode: SearchMode::Hybrid,
            sentences: false,
            collapse: false,
        }
    }
}

/// Something the reader of an answer should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// A stable code, such as `lexical_only`.
    pub code: String,
    /// What happened, and why.
    pub detail: String,
}

impl Notice {
    /// A notice with this code.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            detail: detail.into(),
        }
    }

    pub(super) fn lexical_only(why: &str) -> Self {
        Self::new("lexical_only", format!("searched by words alone: {why}"))
    }
}

/// How well the best passages fit the question; decides whether to abstain.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ConfidenceScores {
    /// Best cosine among the candidates; 0 without a dense leg.
    pub cosine: f64,
    /// Best B'/U: the share of the question's idf that one passage covers.
    pub coverage: f64,
    /// Best fused score F.
    pub fused: f64,
    /// Best MS of late interaction; `None` without token vectors.
    pub maxsim: Option<f64>,
    /// g: how far the encoder is trusted, 0 to 1.
    pub gate: f64,
    /// Whether the question had a vector; without one the highest possible strength is lower.
    #[serde(default)]
    pub dense: bool,
    /// Published chunks of the tenant.
    pub chunks: u64,
}

/// Passages that a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchResult {
    /// Admitted passages, best first.
    pub passages: Vec<Admitted<Passage>>,
    /// How well they fit the question.
    pub evidence: ConfidenceScores,
    /// Notices for the reader of the result.
    pub notices: Vec<Notice>,
}

impl Library {
    /// Finds the passages that `scope` admits and that fit `request` best.
    pub async fn search(&self, scope: &Scope, request: &SearchRequest) -> Result<SearchResult, LibraryError> {
        check_request(request)?;
        let question = self.prepare_question(scope, &request.query, request.mode).await?;
        let (gate, hits) = self.admitted_hits(scope, request, &question).await?;
        let RankedCandidates {
            fused,
            dense,
            lexical,
            mut evidence,
        } = RankedCandidates::new(request.mode, &question, gate, &hits);
        let mut reader = PassageReader::new(self, scope, request, &question, &hits);
        let ranked = match question.late.is_some() {
            true => reader.read_and_order(fused, gate, &mut evidence).await?,
            false => fused,
        };
        let ranks = |id: &ChunkId| PassageRanks {
            dense: dense.get(id).copied(),
            lexical: lexical.get(id).copied(),
        };
        Ok(SearchResult {
            passages: reader.select_passages(&ranked, ranks).await?,
            evidence,
            notices: question.notices,
        })
    }

    /// The gate, and the hits that the scope may see. Searches again without stale generations if those displaced good
    /// hits.
    async fn admitted_hits(
        &self,
        scope: &Scope,
        request: &SearchRequest,
        question: &PreparedQuestion,
    ) -> Result<(f64, Vec<IndexHit>), LibraryError> {
        let mut without = Vec::new();
        for repeat in 0.. {
            let query = index_query(request, question, without.clone());
            let query = ScopedQuery::new(scope, request.collection.clone(), request.filter.clone(), query);
            let found = question.index.search(&query).await?;
            let admission = self.admit_hits(scope, found.hits).await?;
            let enough = admission.hits.len() >= request.limit || admission.stale.is_empty();
            if enough || repeat == MAX_STALE_REPEATS {
                return Ok((found.gate, admission.hits));
            }
            without.extend(admission.stale);
        }
        unreachable!("the loop ends by its bound")
    }
}

fn check_request(request: &SearchRequest) -> Result<(), LibraryError> {
    let wrong = |what: String| Err(LibraryError::BadQuestion(what));
    match &request.query {
        query if query.trim().is_empty() => wrong("the question is empty".into()),
        query if query.len() > MAX_QUESTION_BYTES => wrong(format!(
            "the question has {} bytes, more than {MAX_QUESTION_BYTES}",
            query.len()
        )),
        _ if request.limit == 0 || request.limit > MAX_PASSAGES => {
            wrong(format!("limit is {}, not 1 to {MAX_PASSAGES}", request.limit))
        }
        _ => Ok(()),
    }
}

/// Most candidates that are read: those that may be shown, or that late interaction compares.
pub(super) fn max_candidates_read(request: &SearchRequest) -> usize {
    request.limit.max(TOP_LATE)
}

fn index_query(request: &SearchRequest, question: &PreparedQuestion, without: Vec<DocumentGeneration>) -> IndexQuery {
    IndexQuery {
        mode: if question.dense.is_none() {
            SearchMode::Lexical
        } else {
            request.mode
        },
        dense: question.dense.clone(),
        lexical: question.lexical.clone(),
        query_gate: question.gate,
        depth: CANDIDATE_DEPTH,
        exact_count: max_candidates_read(request),
        excluded: without,
    }
}

/// The candidates in the order of their scores, with their rank in each leg.
struct RankedCandidates {
    fused: Vec<RankedHit<ChunkId>>,
    dense: HashMap<ChunkId, u32>,
    lexical: HashMap<ChunkId, u32>,
    evidence: ConfidenceScores,
}

impl RankedCandidates {
    fn new(mode: SearchMode, question: &PreparedQuestion, gate: f64, hits: &[IndexHit]) -> Self {
        let candidates: Vec<FusionCandidate<ChunkId>> = hits
            .iter()
            .map(|hit| FusionCandidate {
                id: hit.chunk,
                unigram: hit.unigrams,
                bigram: hit.bigrams,
                cosine: hit.dense,
            })
            .collect();
        let upper = question.lexical.upper_bound;
        let lexical = rank_by_lexical(&candidates, gate);
        let dense = if question.dense.is_some() {
            rank_by_cosine(&candidates)
        } else {
            Vec::new()
        };
        let evidence = ConfidenceScores {
            cosine: dense.first().map_or(0.0, |best| best.score),
            coverage: lexical.first().map_or(0.0, |best| best.score / upper),
            gate,
            dense: question.dense.is_some(),
            chunks: question.chunks,
            ..ConfidenceScores::default()
        };
        let (dense_ranks, lexical_ranks) = (rank_positions(&dense), rank_positions(&lexical));
        let fused = match (mode, question.dense.is_some()) {
            (SearchMode::Dense, _) => dense,
            (SearchMode::Hybrid, true) => fuse_ranked_lists(&candidates, &lexical, &dense, upper, gate),
            _ => lexical
                .into_iter()
                .map(|hit| RankedHit {
                    score: hit.score / upper,
                    ..hit
                })
                .collect(),
        };
        let evidence = ConfidenceScores {
            fused: fused.first().map_or(0.0, |best| best.score),
            ..evidence
        };
        Self {
            fused,
            dense: dense_ranks,
            lexical: lexical_ranks,
            evidence,
        }
    }
}

/// Ranks, from 1, of the first [`CANDIDATE_DEPTH`] hits of a leg.
fn rank_positions(order: &[RankedHit<ChunkId>]) -> HashMap<ChunkId, u32> {
    order
        .iter()
        .take(CANDIDATE_DEPTH)
        .zip(1..)
        .map(|(ranked, rank)| (ranked.id, rank))
        .collect()
}
