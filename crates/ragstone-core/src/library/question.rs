//! Prepares a question for the search: its terms with their idf, its vector, its wordpieces with their weights.

use std::collections::HashMap;
use std::sync::Arc;

use crate::access::Scope;
use crate::rank::bm25::{LexicalQuery, TermStatistics, question_terms};
use crate::rank::gate::{WordStatistics, latin_share, query_gate};
use crate::rank::late::piece_weights;
use crate::rank::token_bits::BitQuery;
use crate::seam::embedder::{Embedding, TextKind};
use crate::seam::index::SearchMode;
use crate::seam::{EmbedError, Embedder, VectorIndex};

use super::{ActiveEmbedder, Library, LibraryError, Notice};

/// A question that is ready to be searched.
pub(super) struct PreparedQuestion {
    pub lexical: LexicalQuery,
    pub gate: f64,
    pub dense: Option<Vec<f32>>,
    pub late: Option<BitQuery>,
    /// Published chunks of the tenant.
    pub chunks: u64,
    pub notices: Vec<Notice>,
    /// The index to search: the one with the vectors of the same embedder.
    pub index: Arc<dyn VectorIndex>,
}

impl Library {
    /// Embeds the question and loads the statistics of its terms, concurrently.
    pub(super) async fn prepare_question(
        &self,
        scope: &Scope,
        text: &str,
        mode: SearchMode,
    ) -> Result<PreparedQuestion, LibraryError> {
        let in_use = self.active_embedder().filter(|_| mode != SearchMode::Lexical);
        let (embedder, index) = match in_use {
            Some(ActiveEmbedder { embedder, index }) => (Some(embedder), index),
            None => (None, self.index.clone()),
        };
        let (statistics, embedding) = futures::join!(
            self.load_term_statistics(scope, text),
            embed_question(embedder.as_deref(), text)
        );
        let (statistics, mut notices) = (statistics?, Vec::new());
        let embedding = match embedding {
            Ok(embedding) => embedding,
            Err(error) if mode == SearchMode::Dense => return Err(error.into()),
            Err(error) => {
                notices.push(Notice::lexical_only(&error.to_string()));
                None
            }
        };
        if embedder.is_none() && mode == SearchMode::Dense {
            return Err(EmbedError::Refused {
                detail: "there is no embedding model".into(),
            }
            .into());
        }
        if embedder.is_none() && mode == SearchMode::Hybrid {
            notices.push(Notice::lexical_only(
                "there is no embedding model; `ragstone doctor` says what to do",
            ));
        }
        let gate = query_gate(
            embedder
                .and_then(|embedder| embedder.word_statistics(text))
                .unwrap_or_else(|| spelling_statistics(text)),
        );
        let late = match &embedding {
            Some(Embedding {
                tokens: Some(tokens), ..
            }) => {
                let df = self.catalogue.piece_frequencies(scope.tenant(), &tokens.ids).await?;
                let df: HashMap<u32, u64> = tokens.ids.iter().copied().zip(df).collect();
                let weights = piece_weights(&tokens.ids, statistics.documents, |id| {
                    df.get(&id).copied().unwrap_or(0)
                });
                Some(BitQuery::new(&tokens.vectors, &weights))
            }
            _ => None,
        };
        Ok(PreparedQuestion {
            lexical: LexicalQuery::new(text, &statistics),
            gate,
            dense: embedding.map(|embedding| embedding.vector),
            late,
            chunks: statistics.documents,
            notices,
            index,
        })
    }

    async fn load_term_statistics(&self, scope: &Scope, text: &str) -> Result<TermStatistics, LibraryError> {
        let mut terms = question_terms(text);
        terms.sort_unstable();
        terms.dedup();
        Ok(self.catalogue.term_statistics(scope.tenant(), &terms).await?)
    }
}

async fn embed_question(embedder: Option<&dyn Embedder>, text: &str) -> Result<Option<Embedding>, EmbedError> {
    match embedder {
        Some(embedder) => Ok(embedder.embed_texts(&[text.to_owned()], TextKind::Query).await?.pop()),
        None => Ok(None),
    }
}

/// Word statistics from spelling alone, for use without a tokenizer.
pub(crate) fn spelling_statistics(text: &str) -> WordStatistics {
    WordStatistics {
        fertility: 1.0,
        unknown_share: 0.0,
        latin_share: latin_share(text),
    }
}
