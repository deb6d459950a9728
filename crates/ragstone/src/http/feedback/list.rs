//! `GET /api/v1/feedback`: the answers of a tenant that something was said of.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::document::timestamp;
use ragstone_core::seam::catalogue::PageRequest;
use ragstone_core::seam::feedback::{CitedPlace, Feedback, Thumb};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::App;
use crate::http::auth::Admin;
use crate::http::extract::{Query, page};
use crate::http::list;
use crate::http::problem::{Code, Problem};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::BadQuery, Code::BadCursor, Code::CatalogueUnavailable];

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Parameters {
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
    rating: Option<Thumb>,
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

impl From<Feedback> for FeedbackBody {
    fn from(
        Feedback {
            answer,
            rating,
            rated_at,
        }: Feedback,
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
            asked_at: timestamp(answer.asked_at),
            rated_at: timestamp(rated_at),
        }
    }
}

/// The answers that something was said of, those that were rated first at first; for administrators.
#[utoipa::path(get, path = "/api/v1/feedback", tag = "feedback", params(Parameters),
    responses((status = 200, body = FeedbackList)))]
pub(in crate::http) async fn list(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    Query(parameters): Query<Parameters>,
) -> Result<Json<FeedbackList>, Problem> {
    let request = page(parameters.cursor, parameters.limit);
    let fetch = |step: PageRequest| {
        let (store, tenant) = (&app.feedback, admin.tenant());
        async move { store.feedback(tenant, &step).await.map_err(Problem::from) }
    };
    let most_bytes = app.settings.list_bytes;
    let (feedback, next_cursor) = list::fill(request, most_bytes, fetch, FeedbackBody::from).await?;
    Ok(Json(FeedbackList { feedback, next_cursor }))
}
