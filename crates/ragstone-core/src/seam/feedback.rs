//! What callers said of answers, kept with the question and the answer, so that sets for evaluation can be made of it.
//!
//! Invariant: an answer is its asker's, who alone may rate it; a tenant's feedback is read by that tenant alone. What is
//! too old or too much is forgotten, rated or not.

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

/// A question and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredQuestion {
    /// Names it; the asker was told.
    pub trace_id: TraceId,
    /// Who asked, within the tenant.
    pub subject: String,
    /// Whom the asker acted as; none for everybody of the tenant.
    pub readers: Option<ReaderSet>,
    /// When it was answered.
    pub asked_at: OffsetDateTime,
    /// What was asked.
    pub question: String,
    /// The answer without its markers.
    pub answer: String,
    /// Whether it is one.
    pub answered: bool,
    /// Where its citations are, each place once.
    pub cited: Vec<CitedPlace>,
    /// The model that spoke.
    pub model: String,
}

/// Where a citation is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CitedPlace {
    /// The document.
    pub uri: String,
    /// Its page, from 1.
    pub page: Option<u32>,
}

/// A word about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThumbVote {
    /// It helped.
    Up,
    /// It did not.
    Down,
}

/// What an asker said of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRating {
    /// Whether it helped.
    pub thumb: Option<ThumbVote>,
    /// In the asker's words.
    pub comment: Option<String>,
    /// What would have been right.
    pub correct_answer: Option<String>,
}

/// An answer that was rated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatedAnswer {
    /// The answer.
    pub answer: AnsweredQuestion,
    /// What its asker said of it last.
    pub rating: AnswerRating,
    /// When.
    pub rated_at: OffsetDateTime,
}

/// Answers, and what was said of them.
#[async_trait]
pub trait FeedbackStore: Send + Sync {
    /// Keeps an answer of `tenant`. One that is kept already stays.
    async fn save_answer(&self, tenant: &TenantId, answer: &AnsweredQuestion) -> CatalogueResult<()>;

    /// Notes what `subject` says of its answer, in place of what it said before. False if there is no such answer, or it
    /// is another's.
    async fn rate_answer(
        &self,
        tenant: &TenantId,
        subject: &str,
        trace_id: TraceId,
        rating: AnswerRating,
        now: OffsetDateTime,
    ) -> CatalogueResult<bool>;

    /// The rated answers of `tenant`, those that were rated first at first.
    async fn list_rated_answers(&self, tenant: &TenantId, page: &PageRequest)
    -> CatalogueResult<ListPage<RatedAnswer>>;

    /// Removes an answer and what was said of it, where it is `subject`'s (or anybody's). False if there is none.
    async fn remove_answer(&self, tenant: &TenantId, subject: Option<&str>, trace_id: TraceId)
    -> CatalogueResult<bool>;

    /// Forgets what was asked before `before`, and of each tenant the oldest answers beyond `most`. How many went.
    async fn remove_old_answers(&self, before: OffsetDateTime, most: u64) -> CatalogueResult<u64>;
}
