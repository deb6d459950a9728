//! `GET /api/v1/ask-stream`: the stream of `POST /api/v1/ask` for a browser's `EventSource`, which can neither send a
//! body nor headers.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use ragstone_core::ask::Mode;
use ragstone_core::id::{CollectionName, TraceId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{AskBody, sse};
use crate::http::RouterState;
use crate::http::audit::AuditRecord;
use crate::http::auth::CallerIdentity;
use crate::http::extract::{Query, json_problem};
use crate::http::problem::ApiProblem;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AskStreamParameters {
    /// The question. The name `question` is accepted too.
    #[serde(alias = "question")]
    query: String,
    /// Number of passages given to the model; clamped to 1 to 100. Default: set by the server.
    limit: Option<usize>,
    /// Search only this collection. Default: all collections.
    #[param(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// Filter over metadata as JSON text, in the form of the `filter` of a search.
    filter: Option<String>,
    /// `hybrid` (default), `dense` (vectors only) or `lexical` (words only).
    #[serde(default)]
    #[param(value_type = Option<String>)]
    mode: Mode,
    /// Additional instructions for the answer, added to the built-in rules; at most 8 KiB.
    instructions: Option<String>,
    /// Chat model to use instead of the configured one; it must be in the server's list of allowed models.
    model: Option<String>,
    /// Sampling temperature of the model, 0 to 2.
    temperature: Option<f32>,
    /// Language of the answer. Default: the language of the question.
    language: Option<String>,
    /// Maximum number of tokens of the answer.
    max_tokens: Option<u32>,
    /// Whether the stream continues for 30 seconds without a reader, so that it can be resumed. Default: false.
    #[serde(default)]
    resumable: bool,
    /// Id of the last event received, for clients that cannot send the header `Last-Event-ID`.
    last_event_id: Option<String>,
    /// A ticket of `POST /api/v1/stream-tickets`, in place of the `Authorization` header.
    #[expect(dead_code, reason = "stands here for the API's description")]
    ticket: Option<String>,
}

/// Answers a question as server-sent events.
///
/// The events are `sources`, `delta`, `citation`, and at the end exactly one `done` or `failed`. A reconnect after the
/// end is answered with 204, so that an `EventSource` stops.
#[utoipa::path(get, path = "/api/v1/ask-stream", tag = "ask",
    params(AskStreamParameters, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, description = "The events, until the end.", body = String, content_type = "text/event-stream"), (status = 204, description = "Everything was sent already.")))]
pub(in crate::http) async fn stream_answer(
    State(app): State<Arc<RouterState>>,
    identity: CallerIdentity,
    Extension(trace_id): Extension<TraceId>,
    trail: AuditRecord,
    headers: HeaderMap,
    Query(parameters): Query<AskStreamParameters>,
) -> Result<Response, ApiProblem> {
    if let Some(last) = sse::last_event_id(&headers).or(parameters.last_event_id.as_deref()) {
        return sse::resume_stream(&app, &identity.principal, last);
    }
    let filter = parameters.filter.as_deref().map(serde_json::from_str).transpose();
    let body = AskBody {
        question: parameters.query,
        limit: parameters.limit,
        collection: parameters.collection,
        filter: filter.map_err(|error| json_problem(&error).with_pointer("/filter"))?,
        mode: parameters.mode,
        instructions: parameters.instructions,
        model: parameters.model,
        temperature: parameters.temperature,
        language: parameters.language,
        max_tokens: parameters.max_tokens,
        stream: Some(true),
        resumable: parameters.resumable,
    };
    sse::start_answer_stream(app, identity, body, trace_id, trail).await
}
