//! Verification questions for comparing two libraries: taken from the texts, asked at export, and asked again after the
//! import.

use std::collections::HashMap;

use anyhow::Context;
use ragstone_adapters::archive::VersionStamp;
use ragstone_core::id::{ChunkId, DocumentId, TenantId};
use ragstone_core::library::SearchRequest;
use ragstone_core::seam::index::SearchMode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{LibraryTransfer, TransferListener};

/// Most questions in an archive.
const QUESTIONS: usize = 32;
/// Most words of a question.
const WORDS: usize = 12;
/// Passages per question that are compared.
const PASSAGES: usize = 10;

/// A question with its results at export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerificationQuestion {
    tenant: TenantId,
    query: String,
    /// Chunks found by words alone, in order.
    lexical: Vec<ChunkId>,
    /// Chunks found by words and vectors; `None` if no embedder was available.
    hybrid: Option<Vec<ChunkId>>,
}

impl LibraryTransfer {
    /// Picks questions from documents spread over the library, and records their results.
    pub(super) async fn pick_questions(
        &self,
        marks: &HashMap<DocumentId, VersionStamp>,
        listener: &TransferListener,
    ) -> anyhow::Result<Vec<VerificationQuestion>> {
        let mut marks: Vec<&VersionStamp> = marks.values().collect();
        marks.sort_by_key(|mark| mark.id);
        let step = marks.len().div_ceil(QUESTIONS).max(1);
        let total = marks.len().div_ceil(step) as u64;
        let mut questions = Vec::new();
        for (n, mark) in (0..).zip(marks.into_iter().step_by(step)) {
            listener.report_progress("questions", n, total);
            let Some(packed) = self.export_store.export_version(mark.id).await? else {
                continue;
            };
            let middle = packed.chunks / 2;
            let points = self.points.read_points(mark.id, packed.generation, middle, 1).await?;
            let words = |text: &str| text.split_whitespace().take(WORDS).collect::<Vec<_>>().join(" ");
            let query = points.first().map(|point| words(&point.chunk.text)).unwrap_or_default();
            if !query.is_empty() {
                questions.push(
                    self.record_question(&packed.acl.tenant, query, self.can_embed())
                        .await?,
                );
            }
        }
        Ok(questions)
    }

    /// Asks again; counts the questions that find the same passages in the same order.
    pub(super) async fn verify_questions(
        &self,
        questions: &[VerificationQuestion],
        listener: &TransferListener,
    ) -> anyhow::Result<Value> {
        let (mut same, mut hybrid) = (0_u64, 0_u64);
        for (n, question) in (0..).zip(questions) {
            listener.report_progress("questions", n, questions.len() as u64);
            let both = self.can_embed() && question.hybrid.is_some();
            let again = self
                .record_question(&question.tenant, question.query.clone(), both)
                .await?;
            let agrees = again.lexical == question.lexical && (!both || again.hybrid == question.hybrid);
            (same, hybrid) = (same + u64::from(agrees), hybrid + u64::from(both));
        }
        Ok(json!({ "questions": questions.len(), "same": same, "hybrid": hybrid }))
    }

    /// Whether this process can embed questions.
    fn can_embed(&self) -> bool {
        matches!(self.vectors.state(), super::super::EmbedderState::Ready(_))
    }

    async fn record_question(
        &self,
        tenant: &TenantId,
        query: String,
        hybrid: bool,
    ) -> anyhow::Result<VerificationQuestion> {
        let lexical = self.search_chunk_ids(tenant, &query, SearchMode::Lexical).await?;
        let hybrid = match hybrid {
            true => Some(self.search_chunk_ids(tenant, &query, SearchMode::Hybrid).await?),
            false => None,
        };
        Ok(VerificationQuestion {
            tenant: tenant.clone(),
            query,
            lexical,
            hybrid,
        })
    }

    async fn search_chunk_ids(&self, tenant: &TenantId, query: &str, mode: SearchMode) -> anyhow::Result<Vec<ChunkId>> {
        let scope = (self.operator)(tenant.clone()).scope();
        let request = SearchRequest {
            mode,
            ..SearchRequest::new(query, PASSAGES)
        };
        let result = self
            .library
            .search(&scope, &request)
            .await
            .context("a question of the archive")?;
        Ok(result.passages.iter().map(|passage| passage.chunk.id).collect())
    }
}
