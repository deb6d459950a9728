//! `POST /api/v1/ask`: an answer as one JSON object, or as a stream where that is asked for.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::BoxStream;
use ragstone_core::access::{Admitted, Principal};
use ragstone_core::ask::{Answer, AnswerEvent, Retriever, collect_answer};
use ragstone_core::id::TraceId;
use ragstone_core::library::Passage;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AskBody, answer_events, sse};
use crate::http::RouterState;
use crate::http::audit::AuditRecord;
use crate::http::auth::CallerIdentity;
use crate::http::body::{NoticeBody, passage_bodies};
use crate::http::extract::{Json, header_text};
use crate::http::problem::{ApiProblem, Code};

/// Problems of the chat model alone: what was found still holds.
const MODEL_PROBLEMS: [Code; 3] = [Code::ModelBusy, Code::ModelFailed, Code::ModelRefused];

/// A whole answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Answer)]
pub(in crate::http) struct AnswerBody {
    /// The text, citations as ` [n]` behind the sentences.
    answer: String,
    /// Whether the documents held an answer.
    answered: bool,
    sentences: Vec<SentenceBody>,
    citations: Vec<CitationBody>,
    /// URIs of the documents whose passages were found, best first.
    sources: Vec<String>,
    usage: UsageBody,
    /// The model that spoke, `extractive` for none.
    model: String,
    trace_id: Uuid,
    notices: Vec<NoticeBody>,
}

/// A sentence and the numbers of its citations.
#[derive(Serialize, ToSchema)]
#[schema(as = Sentence)]
pub(in crate::http) struct SentenceBody {
    text: String,
    citations: Vec<usize>,
}

/// A quoted span of a document that supports a sentence; read again from the store before it was sent.
#[derive(Serialize, ToSchema)]
#[schema(as = Citation)]
pub(in crate::http) struct CitationBody {
    /// The first sentence it supports, from 0.
    sentence: usize,
    /// Its number in the text, from 1.
    n: usize,
    document_id: Uuid,
    chunk_id: Uuid,
    title: String,
    uri: String,
    source_url: Option<String>,
    page: Option<u32>,
    section: Option<String>,
    /// Start and end of the quote, as UTF-8 bytes of the document's text.
    range: [usize; 2],
    quote: String,
    verified: bool,
}

/// Tokens spent.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub(in crate::http) struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// Answers a question from the documents that the caller may read. With `stream: true` or `Accept: text/event-stream`
/// the answer is server-sent events: `sources`, `delta`, `citation`, and exactly one of `done` and `failed`. Where the
/// chat model fails, is busy or refuses, the problem holds the `passages` that were found, as in a search.
#[utoipa::path(post, path = "/api/v1/ask", tag = "ask", request_body = AskBody,
    params(("Last-Event-ID" = Option<String>, Header, description = "resumes a stream after this event")),
    responses((status = 200, description = "the answer, or `text/event-stream`", body = AnswerBody),
        (status = 204, description = "the resumed stream was fully delivered")))]
pub(in crate::http) async fn ask_question(
    State(app): State<Arc<RouterState>>,
    identity: CallerIdentity,
    Extension(trace_id): Extension<TraceId>,
    trail: AuditRecord,
    headers: HeaderMap,
    Json(body): Json<AskBody>,
) -> Result<Response, ApiProblem> {
    if let Some(last) = sse::last_event_id(&headers) {
        return sse::resume_stream(&app, &identity.principal, last);
    }
    let accepts = header_text(&headers, &ACCEPT).is_some_and(|accept| accept.contains("text/event-stream"));
    if body.stream.unwrap_or(accepts) {
        return sse::start_answer_stream(app, identity, body, trace_id, trail).await;
    }
    let events = answer_events(&app, &identity, body, trace_id, trail).await?;
    let answer = collect_or_explain(&app, &identity.principal, events).await?;
    Ok((StatusCode::OK, axum::Json(answer)).into_response())
}

/// The answer once all of it is there.
async fn collect_or_explain(
    app: &RouterState,
    principal: &Principal,
    events: BoxStream<'static, AnswerEvent>,
) -> Result<Answer, ApiProblem> {
    let mut found = Arc::from([]);
    let watched = events.inspect(|event| {
        if let AnswerEvent::Sources { passages, .. } = event {
            found = passages.clone();
        }
    });
    match collect_answer(watched).await {
        Ok(answer) => Ok(answer),
        Err(failed) => Err(with_passages(app, principal, failed.into(), &found).await),
    }
}

/// The problem of a model with what its caller can read instead, unless a document of that was withdrawn since.
async fn with_passages(
    app: &RouterState,
    principal: &Principal,
    problem: ApiProblem,
    passages: &[Admitted<Passage>],
) -> ApiProblem {
    if passages.is_empty() || !MODEL_PROBLEMS.contains(&problem.code) {
        return problem;
    }
    let documents: Vec<_> = passages.iter().map(|passage| passage.chunk.document_id).collect();
    match app.library.still_admitted(&principal.scope(), &documents).await {
        Ok(true) => problem.with_extension("passages", json!(passage_bodies(passages))),
        Ok(false) | Err(_) => problem,
    }
}
