//! `POST /api/v1/feedback`: what the asker says of an answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::document::timestamp;
use ragstone_core::id::TraceId;
use ragstone_core::seam::feedback::{MAX_COMMENT_BYTES, MAX_CORRECT_ANSWER_BYTES, Rating, Thumb};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::unknown;
use crate::http::App;
use crate::http::audit::Trail;
use crate::http::auth::Reader;
use crate::http::problem::{Code, Problem};
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
pub(in crate::http) struct Given {
    /// The answer's `trace_id`.
    trace_id: Uuid,
    /// `up` or `down`.
    #[schema(value_type = Option<String>)]
    rating: Option<Thumb>,
    /// In words, at most 4 KiB.
    comment: Option<String>,
    /// What would have been right, at most 16 KiB.
    correct_answer: Option<String>,
}

/// What was noted.
#[derive(Serialize, ToSchema)]
#[schema(as = NotedFeedback)]
pub(in crate::http) struct Noted {
    trace_id: Uuid,
    /// `up`, `down` or null.
    #[schema(value_type = Option<String>)]
    rating: Option<Thumb>,
    /// RFC 3339.
    rated_at: String,
}

impl Given {
    fn rating(self) -> Result<Rating, Problem> {
        let text = |field: &str, text: Option<String>, most: usize| match text {
            Some(text) if text.len() > most => {
                let detail = format!("{field} has more than {most} bytes");
                Err(Problem::new(Code::BadField, detail).at(format!("/{field}")))
            }
            text => Ok(text.filter(|text| !text.trim().is_empty())),
        };
        let rating = Rating {
            thumb: self.rating,
            comment: text("comment", self.comment, MAX_COMMENT_BYTES)?,
            correct_answer: text("correct_answer", self.correct_answer, MAX_CORRECT_ANSWER_BYTES)?,
        };
        match rating == Rating::default() {
            true => Err(Problem::new(
                Code::BadField,
                "nothing is said: give rating, comment or correct_answer",
            )
            .at("/rating")),
            false => Ok(rating),
        }
    }
}

/// Says something of an answer, in place of what was said before; only who asked can, and for a while after the answer.
/// With it the question and the answer are kept, for administrators and for sets of questions.
#[utoipa::path(post, path = "/api/v1/feedback", tag = "feedback", request_body = Given,
    responses((status = 200, body = Noted)))]
pub(in crate::http) async fn give(
    State(app): State<Arc<App>>,
    Reader(asker): Reader,
    trail: Trail,
    extract::Json(given): extract::Json<Given>,
) -> Result<Json<Noted>, Problem> {
    let (trace_id, now) = (TraceId(given.trace_id), (app.clock)());
    let rating = given.rating()?;
    trail.target(trace_id);
    if let Some(answer) = app.asked.find(&asker, trace_id) {
        app.feedback.keep_answer(asker.tenant(), &answer).await?;
    }
    let thumb = rating.thumb;
    let rated = app
        .feedback
        .rate(asker.tenant(), asker.subject(), trace_id, rating, now);
    if !rated.await? {
        return Err(unknown());
    }
    metrics::rated(thumb);
    Ok(Json(Noted {
        trace_id: trace_id.0,
        rating: thumb,
        rated_at: timestamp(now),
    }))
}
