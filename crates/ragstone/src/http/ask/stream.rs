//! `GET /api/v1/ask-stream`: the same stream for an `EventSource`, which can neither post nor send headers.

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
    /// The question; `question` is understood too.
    #[serde(alias = "question")]
    query: String,
    /// Passages shown to the model, 1 to 100.
    limit: Option<usize>,
    /// Only of this collection.
    #[param(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// As in a search, as JSON.
    filter: Option<String>,
    /// `hybrid`, `dense` or `lexical`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    mode: Mode,
    /// Wishes for the answer.
    instructions: Option<String>,
    /// Another model, from the allowed list.
    model: Option<String>,
    /// 0 to 2.
    temperature: Option<f32>,
    /// The language of the answer.
    language: Option<String>,
    /// Most tokens of the answer.
    max_tokens: Option<u32>,
    /// Goes on for 30 seconds without a reader.
    #[serde(default)]
    resumable: bool,
    /// Where the `Last-Event-ID` header cannot be sent.
    last_event_id: Option<String>,
    /// A ticket of `POST /api/v1/stream-tickets`; read before the parameters are.
    #[expect(dead_code, reason = "stands here for the API's description")]
    ticket: Option<String>,
}

/// An answer as server-sent events: `sources`, `delta`, `citation`, and exactly one of `done` and `failed`. A
/// reconnect after the end is answered 204, so that an `EventSource` stops.
#[utoipa::path(get, path = "/api/v1/ask-stream", tag = "ask",
    params(AskStreamParameters, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, description = "`text/event-stream`"), (status = 204, description = "all was sent")))]
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
