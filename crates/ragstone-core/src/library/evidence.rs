//! Implements [`ask::Retriever`], by which answers get their passages, for the library.

use async_trait::async_trait;

use super::{Library, LibraryError, Passage, SearchRequest};
use crate::access::{Admitted, Scope};
use crate::ask::{self, AskRequest, RetrievalError, RetrievedPassages};
use crate::document::TextRange;
use crate::id::DocumentId;
use crate::seam::IndexError;

impl From<LibraryError> for RetrievalError {
    fn from(error: LibraryError) -> Self {
        let detail = error.to_string();
        match error {
            LibraryError::BadQuestion(_) => Self::Refused {
                code: "bad_question",
                detail,
            },
            LibraryError::Embed(_) => Self::NoVector { detail },
            LibraryError::Index(IndexError::Unavailable { .. }) => Self::Busy { detail },
            _ => Self::Broken { detail },
        }
    }
}

#[async_trait]
impl ask::Retriever for Library {
    async fn retrieve_passages(
        &self,
        scope: &Scope,
        request: &AskRequest,
        with_sentences: bool,
    ) -> Result<RetrievedPassages, RetrievalError> {
        let search = SearchRequest {
            query: request.question.clone(),
            limit: request.limit,
            collection: request.collection.clone(),
            filter: request.filter.clone(),
            mode: request.mode,
            sentences: with_sentences,
            collapse: true,
        };
        let found = self.search(scope, &search).await?;
        let thin = self.has_insufficient_evidence(scope.tenant(), &found.evidence);
        Ok(RetrievedPassages {
            passages: found.passages,
            insufficient_evidence: thin,
            notices: found.notices,
        })
    }

    async fn stored_texts(&self, scope: &Scope, passages: &[&Passage]) -> Result<Vec<Option<String>>, RetrievalError> {
        let Some(first) = passages.first() else {
            return Ok(Vec::new());
        };
        let ranges: Vec<TextRange> = passages.iter().map(|passage| passage.chunk.range.clone()).collect();
        let texts = self
            .read_quotes(scope, first.chunk.document_id, first.generation, &ranges)
            .await?;
        Ok(texts.map_or_else(|| vec![None; ranges.len()], Admitted::into_inner))
    }

    async fn still_admitted(&self, scope: &Scope, documents: &[DocumentId]) -> Result<bool, RetrievalError> {
        let access = self
            .catalogue
            .get_document_access(documents)
            .await
            .map_err(LibraryError::from)?;
        let admitted = |id: &DocumentId| {
            access
                .iter()
                .any(|document| document.id == *id && scope.admits(&document.acl))
        };
        Ok(documents.iter().all(admitted))
    }
}
