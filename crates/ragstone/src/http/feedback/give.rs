//! `POST /api/v1/feedback`: what the asker says of an answer.

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

/// What is said of an answer: at least one of the three.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewFeedback)]
pub(in crate::http) struct FeedbackRequest {
    /// The answer's `trace_id`.
    trace_id: Uuid,
    /// `up` or `down`.
    #[schema(value_type = Option<String>)]
    rating: Option<ThumbVote>,
    /// In words, at most 4 KiB.
    comment: Option<String>,
    /// What would have been right, at most 16 KiB.
    correct_answer: Option<String>,
}

/// What was noted.
#[derive(Serialize, ToSchema)]
#[schema(as = NotedFeedback)]
pub(in crate::http) struct FeedbackResponse {
    trace_id: Uuid,
    /// `up`, `down` or null.
    #[schema(value_type = Option<String>)]
    rating: Option<ThumbVote>,
    /// RFC 3339.
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

/// Says something of an answer, in place of what was said before; only who asked can, and for a while after the answer.
/// With it the question and the answer are kept, for administrators and for sets of questions.
#[utoipa::path(post, path = "/api/v1/feedback", tag = "feedback", request_body = FeedbackRequest,
    responses((status = 200, body = FeedbackResponse)))]
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
