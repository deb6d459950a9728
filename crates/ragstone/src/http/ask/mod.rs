//! Asking: one answer as JSON, or the same answer as a stream of events.

pub(super) mod json;
mod replay;
mod sse;
pub(super) mod stream;
mod watch;

use futures::StreamExt;
use futures::stream::BoxStream;
use ragstone_core::ask::{AnswerEvent, AskRequest, Mode};
use ragstone_core::id::{CollectionName, TraceId};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::RouterState;
use super::audit::AuditRecord;
use super::auth::CallerIdentity;
use super::problem::{ApiProblem, Code};
use super::search::{check_question, parse_filter, passage_limit};
use super::{feedback, limits};

pub(super) use replay::ResumableStreams;

/// Longest wishes for an answer, in bytes.
const MAX_INSTRUCTIONS_BYTES: usize = 8 * 1024;

pub(super) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::StreamUnknown,
    Code::Withdrawn,
    Code::TooLarge,
    Code::MediaType,
    Code::BadBody,
    Code::BadField,
    Code::BadFilter,
    Code::BadQuestion,
    Code::ModelNotAllowed,
    Code::PromptTooLong,
    Code::TokenBudgetSpent,
    Code::TooManyStreams,
    Code::ModelRefused,
    Code::ModelFailed,
    Code::Busy,
    Code::EmbedderUnavailable,
    Code::CatalogueUnavailable,
    Code::SearchFailed,
    Code::ModelBusy,
    Code::Broken,
];

/// As those of a body, for a question in the query.
pub(super) const STREAM_PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::BadQuery,
    Code::StreamUnknown,
    Code::Withdrawn,
    Code::BadField,
    Code::BadFilter,
    Code::BadQuestion,
    Code::ModelNotAllowed,
    Code::PromptTooLong,
    Code::TokenBudgetSpent,
    Code::TooManyStreams,
    Code::ModelRefused,
    Code::ModelFailed,
    Code::Busy,
    Code::EmbedderUnavailable,
    Code::CatalogueUnavailable,
    Code::SearchFailed,
    Code::ModelBusy,
    Code::Broken,
];

/// A question and what its asker wants of the answer.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Question)]
pub(super) struct AskBody {
    /// The question; `query` is understood too.
    #[serde(alias = "query")]
    question: String,
    /// Passages shown to the model, 1 to 100.
    limit: Option<usize>,
    /// Only of this collection.
    #[schema(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// As in a search.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// `hybrid`, `dense` or `lexical`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    mode: Mode,
    /// Wishes for the answer, beside the rules.
    instructions: Option<String>,
    /// Another model than the configured one, from the allowed list.
    model: Option<String>,
    /// 0 to 2.
    temperature: Option<f32>,
    /// The language of the answer; the question's own if not said.
    language: Option<String>,
    /// Most tokens of the answer.
    max_tokens: Option<u32>,
    /// Server-sent events instead of one JSON object, as with `Accept: text/event-stream`.
    stream: Option<bool>,
    /// A stream goes on for 30 seconds without a reader, to be resumed with `Last-Event-ID`.
    #[serde(default)]
    resumable: bool,
}

impl AskBody {
    fn into_request(self, app: &RouterState) -> Result<AskRequest, ApiProblem> {
        check_question(app, &self.question)?;
        let wrong = |field: &str, what: String| {
            Err(ApiProblem::new(Code::BadField, format!("{field} {what}")).with_pointer(format!("/{field}")))
        };
        if self
            .instructions
            .as_ref()
            .is_some_and(|text| text.len() > MAX_INSTRUCTIONS_BYTES)
        {
            return wrong("instructions", format!("have more than {MAX_INSTRUCTIONS_BYTES} bytes"));
        }
        if self
            .temperature
            .is_some_and(|temperature| !(0.0..=2.0).contains(&temperature))
        {
            return wrong("temperature", "is not 0 to 2".into());
        }
        Ok(AskRequest {
            question: self.question,
            limit: passage_limit(app, self.limit),
            collection: self.collection,
            filter: parse_filter(self.filter.as_ref())?,
            mode: self.mode,
            instructions: self.instructions,
            model: self.model,
            temperature: self.temperature,
            language: self.language,
            max_tokens: self.max_tokens,
        })
    }
}

/// Asks, within the caller's budget and for as long as what it came in by opens something; who asked what, and what was shown to the model, is noted.
async fn answer_events(
    app: &RouterState,
    identity: &CallerIdentity,
    body: AskBody,
    trace_id: TraceId,
    trail: AuditRecord,
) -> Result<BoxStream<'static, AnswerEvent>, ApiProblem> {
    let principal = &identity.principal;
    let request = body.into_request(app)?;
    limits::check_token_budget(app, principal).await?;
    trail.set_question(&request.question);
    let note = feedback::answer_recorder(app, principal, &request.question);
    let events = limits::meter_answer(app, principal, (app.answerer)(principal.scope(), request, trace_id));
    let events = watch::while_credential_valid(app, identity.credential, events);
    let noted = move |event: &AnswerEvent| {
        count_outcome(event);
        if let AnswerEvent::Done(answer) = event {
            note(answer);
        }
        if let AnswerEvent::Sources { passages, .. } = event {
            passages
                .iter()
                .for_each(|passage| trail.add_target(passage.chunk.document_id));
        }
    };
    Ok(events.inspect(noted).boxed())
}

/// Counts how questions end.
fn count_outcome(event: &AnswerEvent) {
    let outcome = match event {
        AnswerEvent::Done(answer) if answer.answered => "answered",
        AnswerEvent::Done(_) => "unanswered",
        AnswerEvent::Failed { .. } => "failed",
        _ => return,
    };
    super::metrics::count_question(outcome);
}

#[cfg(test)]
mod tests;
