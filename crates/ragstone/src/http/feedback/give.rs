//! `POST /api/v1/feedback`: rates an answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::document::format_timestamp;
use ragstone_core::id::TraceId;
use ragstone_core::seam::feedback::{AnswerRating, MAX_COMMENT_BYTES, MAX_CORRECT_ANSWER_BYTES, ThumbVote};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::unknown_answer;
use crate::http::RouterState;
use crate::http::audit::AuditRecord;
use crate::http::auth::RequireReader;
use crate::http::problem::{ApiProblem, Code};
use crate::http::{extract, metrics};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::NotFound,
    Code::MediaType,
    Code::TooLarge,
    Code::BadBody,
    Code::BadField,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// Feedback on an answer; at least one of `rating`, `comment` and `correct_answer` is required.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewFeedback)]
pub(in crate::http) struct FeedbackRequest {
    /// The `trace_id` of the answer.
    trace_id: Uuid,
    /// `up` or `down`; absent for no rating.
    #[schema(value_type = Option<String>)]
    rating: Option<ThumbVote>,
    /// Comment in free text, at most 4 KiB.
    comment: Option<String>,
    /// What the answer should have been, at most 16 KiB.
    correct_answer: Option<String>,
}

/// The feedback that was stored.
#[derive(Serialize, ToSchema)]
#[schema(as = NotedFeedback)]
pub(in crate::http) struct FeedbackResponse {
    /// The `trace_id` of the answer.
    trace_id: Uuid,
    /// `up`, `down` or null.
    #[schema(value_type = Option<String>)]
    rating: Option<ThumbVote>,
    /// When it was stored, RFC 3339.
    rated_at: String,
}

impl FeedbackRequest {
    fn into_rating(self) -> Result<AnswerRating, ApiProblem> {
        let text = |field: &str, text: Option<String>, most: usize| match text {
            Some(text) if text.len() > most => {
                let detail = format!("{field} has more than {most} bytes");
                Err(ApiProblem::new(Code::BadField, detail).with_pointer(format!("/{field}")))
            }
            text => Ok(text.filter(|text| !text.trim().is_empty())),
        };
        let rating = AnswerRating {
            thumb: self.rating,
            comment: text("comment", self.comment, MAX_COMMENT_BYTES)?,
            correct_answer: text("correct_answer", self.correct_answer, MAX_CORRECT_ANSWER_BYTES)?,
        };
        match rating == AnswerRating::default() {
            true => Err(ApiProblem::new(
                Code::BadField,
                "nothing is said: give rating, comment or correct_answer",
            )
            .with_pointer("/rating")),
            false => Ok(rating),
        }
    }
}

/// Stores feedback on an answer; it replaces earlier feedback on the same answer.
///
/// Only the asker can rate an answer, and only for a limited time after it. Question and answer are kept with the
/// feedback, for administrators and for building evaluation sets.
#[utoipa::path(post, path = "/api/v1/feedback", tag = "feedback", request_body = FeedbackRequest,
    responses((status = 200, description = "Stored.", body = FeedbackResponse)))]
pub(in crate::http) async fn give_feedback(
    State(app): State<Arc<RouterState>>,
    RequireReader(asker): RequireReader,
    trail: AuditRecord,
    extract::Json(given): extract::Json<FeedbackRequest>,
) -> Result<Json<FeedbackResponse>, ApiProblem> {
    let (trace_id, now) = (TraceId(given.trace_id), (app.clock)());
    let rating = given.into_rating()?;
    trail.add_target(trace_id);
    if let Some(answer) = app.recent_answers.find_answer(&asker, trace_id) {
        app.feedback.save_answer(asker.tenant(), &answer).await?;
    }
    let thumb = rating.thumb;
    let rated = app
        .feedback
        .rate_answer(asker.tenant(), asker.subject(), trace_id, rating, now);
    if !rated.await? {
        return Err(unknown_answer());
    }
    metrics::count_feedback(thumb);
    Ok(Json(FeedbackResponse {
        trace_id: trace_id.0,
        rating: thumb,
        rated_at: format_timestamp(now),
    }))
}
