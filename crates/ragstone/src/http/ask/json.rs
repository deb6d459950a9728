//! `POST /api/v1/ask`: an answer as one JSON object, or as server-sent events if the request asks for them.

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

/// Problems of the chat model; the passages found before it failed are still valid.
const MODEL_PROBLEMS: [Code; 3] = [Code::ModelBusy, Code::ModelFailed, Code::ModelRefused];

/// A complete answer with its citations.
#[derive(Serialize, ToSchema)]
#[schema(as = Answer)]
pub(in crate::http) struct AnswerBody {
    /// The text of the answer; citations stand as ` [n]` after the sentences.
    answer: String,
    /// Whether the documents contain an answer. False if the model says that they do not, or if no sentence could be
    /// verified.
    answered: bool,
    /// The sentences of the answer, in order.
    sentences: Vec<SentenceBody>,
    /// The verified citations, by number.
    citations: Vec<CitationBody>,
    /// URIs of the documents whose passages were found, best first.
    sources: Vec<String>,
    /// Tokens that the answer used.
    usage: UsageBody,
    /// The model that answered; `extractive` if no model was used.
    model: String,
    /// Id of this answer; `POST /api/v1/feedback` takes it.
    trace_id: Uuid,
    /// What the reader should know, such as a search by words only.
    notices: Vec<NoticeBody>,
}

/// A sentence of an answer, with the numbers of the citations that support it.
#[derive(Serialize, ToSchema)]
#[schema(as = Sentence)]
pub(in crate::http) struct SentenceBody {
    /// The sentence, without citation marks.
    text: String,
    /// Values of `n` of its citations.
    citations: Vec<usize>,
}

/// A quoted span of a document that supports a sentence. It was verified against the stored text before it was sent.
#[derive(Serialize, ToSchema)]
#[schema(as = Citation)]
pub(in crate::http) struct CitationBody {
    /// Index of the first sentence that it supports, from 0.
    sentence: usize,
    /// Its number in the text of the answer, from 1.
    n: usize,
    document_id: Uuid,
    chunk_id: Uuid,
    /// Title of the document.
    title: String,
    /// URI of the document.
    uri: String,
    /// URL where a person can open the document; null if not known.
    source_url: Option<String>,
    /// Page, from 1; null if the format has no pages.
    page: Option<u32>,
    /// Heading path, such as `Setup > Linux`; null if there is none.
    section: Option<String>,
    /// Start and end of the quote, as byte offsets in the document's UTF-8 text.
    range: [usize; 2],
    /// The quoted text, read from the stored document.
    quote: String,
    /// Always true: a citation that cannot be verified is not sent.
    verified: bool,
}

/// Tokens of the chat model that an answer used.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub(in crate::http) struct UsageBody {
    /// Tokens of the prompts.
    prompt_tokens: u64,
    /// Tokens that the model generated.
    completion_tokens: u64,
}

/// Answers a question from the documents that the caller may read.
///
/// With `stream: true` or `Accept: text/event-stream` the response is a stream of server-sent events: `sources`,
/// `delta`, `citation`, and at the end exactly one `done` or `failed`. If the chat model fails, is busy or refuses, the
/// problem contains the `passages` that were found, in the form of a search.
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

/// Waits for the whole answer. On failure returns the problem, with the passages found where they help.
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

/// Adds the passages found to a problem of the chat model, unless a document of them was withdrawn since.
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
