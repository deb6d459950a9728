//! Feedback: ratings of answers, stored with question and answer, so that evaluation sets can be made from them.
//!
//! Invariant: only its asker may rate an answer; feedback is readable only within its tenant. Answers beyond the age or
//! number limit are deleted, rated or not.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::catalogue::{CatalogueResult, ListPage, PageRequest};
use crate::access::ReaderSet;
use crate::id::{TenantId, TraceId};

/// Longest comment, in bytes.
pub const MAX_COMMENT_BYTES: usize = 4 << 10;
/// Longest correct answer, in bytes.
pub const MAX_CORRECT_ANSWER_BYTES: usize = 16 << 10;

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredQuestion {
    /// Trace id of the answer, as it was returned to the asker.
    pub trace_id: TraceId,
    /// Subject of the asker within the tenant.
    pub subject: String,
    /// The readers that the asker held; `None` if the asker held every reader of the tenant.
    pub readers: Option<ReaderSet>,
    /// Time of the answer.
    pub asked_at: OffsetDateTime,
    /// Text of the question.
    pub question: String,
    /// Text of the answer without citation markers.
    pub answer: String,
    /// Whether the question was answered; false if the answer is a refusal.
    pub answered: bool,
    /// Documents and pages that were cited, without duplicates.
    pub cited: Vec<CitedPlace>,
    /// Name of the chat model that answered.
    pub model: String,
}

/// A document, and page if any, that was cited.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CitedPlace {
    /// URI of the document.
    pub uri: String,
    /// Page number, from 1; `None` for formats without pages.
    pub page: Option<u32>,
}

/// Verdict of the asker on an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThumbVote {
    /// The answer was helpful.
    Up,
    /// The answer was not helpful.
    Down,
}

/// Feedback of the asker on one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRating {
    /// Whether the answer helped; `None` if the asker gave no verdict.
    pub thumb: Option<ThumbVote>,
    /// Free text of the asker, at most [`MAX_COMMENT_BYTES`].
    pub comment: Option<String>,
    /// The answer that would have been correct, at most [`MAX_CORRECT_ANSWER_BYTES`].
    pub correct_answer: Option<String>,
}

/// An answer with its rating.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatedAnswer {
    /// The question and the answer.
    pub answer: AnsweredQuestion,
    /// The asker's most recent rating.
    pub rating: AnswerRating,
    /// Time of the rating.
    pub rated_at: OffsetDateTime,
}

/// Stores answers and their ratings.
#[async_trait]
pub trait FeedbackStore: Send + Sync {
    /// Stores an answer of `tenant`; one that is already stored is not changed.
    async fn save_answer(&self, tenant: &TenantId, answer: &AnsweredQuestion) -> CatalogueResult<()>;

    /// Stores the rating by `subject` and replaces an earlier one. False if no such answer exists or it is another
    /// caller's.
    async fn rate_answer(
        &self,
        tenant: &TenantId,
        subject: &str,
        trace_id: TraceId,
        rating: AnswerRating,
        now: OffsetDateTime,
    ) -> CatalogueResult<bool>;

    /// The rated answers of `tenant`, in order of rating, oldest first.
    async fn list_rated_answers(&self, tenant: &TenantId, page: &PageRequest)
    -> CatalogueResult<ListPage<RatedAnswer>>;

    /// Removes an answer with its rating if it belongs to `subject` (`None`: to anybody). False if there is none.
    async fn remove_answer(&self, tenant: &TenantId, subject: Option<&str>, trace_id: TraceId)
    -> CatalogueResult<bool>;

    /// Deletes answers given before `before`, and for each tenant the oldest ones beyond `most`. Returns how many were
    /// deleted.
    async fn remove_old_answers(&self, before: OffsetDateTime, most: u64) -> CatalogueResult<u64>;
}
