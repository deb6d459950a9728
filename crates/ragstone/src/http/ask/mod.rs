//! Answering questions, as one JSON object or as a stream of server-sent events.

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

/// Longest `instructions`, in bytes.
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

/// The problems of `GET /api/v1/ask-stream`, which reads the question from the query and not from a body.
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

/// A question and options for its answer.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Question)]
pub(super) struct AskBody {
    /// The question. The name `query` is accepted too.
    #[serde(alias = "query")]
    question: String,
    /// Number of passages given to the model; clamped to 1 to 100. Default: set by the server.
    limit: Option<usize>,
    /// Search only this collection. Default: all collections.
    #[schema(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// Filter over metadata, in the form of the `filter` of a search.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// `hybrid` (default), `dense` (vectors only) or `lexical` (words only).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
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
    /// Whether to send server-sent events instead of one JSON object. Default: true if `Accept` contains
    /// `text/event-stream`.
    stream: Option<bool>,
    /// Whether a stream continues for 30 seconds without a reader, so that it can be resumed with `Last-Event-ID`.
    /// Default: false.
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

/// Starts an answer and returns its events. Checks the caller's token budget before. The stream fails when the caller's
/// credential ends. Question and shown documents go to the audit record.
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

/// Counts the outcome of a question when its last event passes.
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
