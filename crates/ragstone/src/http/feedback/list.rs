//! `GET /api/v1/feedback`: the answers of a tenant that something was said of.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::document::format_timestamp;
use ragstone_core::seam::catalogue::PageRequest;
use ragstone_core::seam::feedback::{CitedPlace, RatedAnswer, ThumbVote};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::RouterState;
use crate::http::auth::RequireAdmin;
use crate::http::extract::{Query, page_request};
use crate::http::list;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::BadQuery, Code::BadCursor, Code::CatalogueUnavailable];

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct FeedbackListParameters {
    /// What the last page said as `next_cursor`.
    cursor: Option<String>,
    /// Most answers; 50 if not said, at most 1,000.
    limit: Option<usize>,
}

/// A page of feedback.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct FeedbackList {
    feedback: Vec<FeedbackBody>,
    /// Null at the end.
    next_cursor: Option<String>,
}

/// An answer and what its asker said of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Feedback)]
pub(in crate::http) struct FeedbackBody {
    trace_id: Uuid,
    /// Who asked.
    subject: String,
    /// Whom the asker acted as; null for an administrator, who acts as everybody of the tenant.
    readers: Option<Vec<String>>,
    question: String,
    /// Without markers.
    answer: String,
    answered: bool,
    citations: Vec<PlaceBody>,
    model: String,
    /// `up`, `down` or null.
    #[schema(value_type = Option<String>)]
    rating: Option<ThumbVote>,
    comment: Option<String>,
    correct_answer: Option<String>,
    /// RFC 3339.
    asked_at: String,
    /// RFC 3339.
    rated_at: String,
}

/// Where a citation is.
#[derive(Serialize, ToSchema)]
#[schema(as = CitedPlace)]
pub(in crate::http) struct PlaceBody {
    uri: String,
    page: Option<u32>,
}

impl From<RatedAnswer> for FeedbackBody {
    fn from(
        RatedAnswer {
            answer,
            rating,
            rated_at,
        }: RatedAnswer,
    ) -> Self {
        let readers = answer.readers;
        let place = |place: CitedPlace| PlaceBody {
            uri: place.uri,
            page: place.page,
        };
        Self {
            trace_id: answer.trace_id.0,
            subject: answer.subject,
            readers: readers.map(|readers| readers.iter().map(ToString::to_string).collect()),
            question: answer.question,
            answer: answer.answer,
            answered: answer.answered,
            citations: answer.cited.into_iter().map(place).collect(),
            model: answer.model,
            rating: rating.thumb,
            comment: rating.comment,
            correct_answer: rating.correct_answer,
            asked_at: format_timestamp(answer.asked_at),
            rated_at: format_timestamp(rated_at),
        }
    }
}

/// The answers that something was said of, those that were rated first at first; for administrators.
#[utoipa::path(get, path = "/api/v1/feedback", tag = "feedback", params(FeedbackListParameters),
    responses((status = 200, body = FeedbackList)))]
pub(in crate::http) async fn list_feedback(
    State(app): State<Arc<RouterState>>,
    RequireAdmin(admin): RequireAdmin,
    Query(parameters): Query<FeedbackListParameters>,
) -> Result<Json<FeedbackList>, ApiProblem> {
    let request = page_request(parameters.cursor, parameters.limit);
    let fetch = |step: PageRequest| {
        let (store, tenant) = (&app.feedback, admin.tenant());
        async move { store.list_rated_answers(tenant, &step).await.map_err(ApiProblem::from) }
    };
    let most_bytes = app.settings.list_bytes;
    let (feedback, next_cursor) = list::fill_page(request, most_bytes, fetch, FeedbackBody::from).await?;
    Ok(Json(FeedbackList { feedback, next_cursor }))
}
