//! `GET /api/v1/feedback`: the rated answers of a tenant.

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
    /// The `next_cursor` of the previous page; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of answers per page, 1 to 1,000. Default: 50.
    limit: Option<usize>,
}

/// A page of the list of feedback.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct FeedbackList {
    /// The rated answers, in the order of their latest ratings, oldest first.
    feedback: Vec<FeedbackBody>,
    /// Cursor of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// An answer with the feedback of its asker.
#[derive(Serialize, ToSchema)]
#[schema(as = Feedback)]
pub(in crate::http) struct FeedbackBody {
    /// The `trace_id` of the answer.
    trace_id: Uuid,
    /// Subject of the asker.
    subject: String,
    /// Readers that the asker held; null for an administrator, who holds all readers of the tenant.
    readers: Option<Vec<String>>,
    /// The question as it was asked.
    question: String,
    /// The answer, without citation marks.
    answer: String,
    /// Whether the documents contained an answer.
    answered: bool,
    /// The places that the answer cites, each once.
    citations: Vec<PlaceBody>,
    /// The model that answered.
    model: String,
    /// `up`, `down` or null.
    #[schema(value_type = Option<String>)]
    rating: Option<ThumbVote>,
    /// Comment of the asker; null if none.
    comment: Option<String>,
    /// What the answer should have been, according to the asker; null if not given.
    correct_answer: Option<String>,
    /// When it was answered, RFC 3339.
    asked_at: String,
    /// When it was last rated, RFC 3339.
    rated_at: String,
}

/// A place in a document that an answer cites.
#[derive(Serialize, ToSchema)]
#[schema(as = CitedPlace)]
pub(in crate::http) struct PlaceBody {
    /// URI of the document.
    uri: String,
    /// Page, from 1; null if the format has no pages.
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

/// Lists the rated answers of the tenant, in the order of their latest ratings, oldest first.
///
/// For administrators.
#[utoipa::path(get, path = "/api/v1/feedback", tag = "feedback", params(FeedbackListParameters),
    responses((status = 200, description = "A page of feedback.", body = FeedbackList)))]
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
