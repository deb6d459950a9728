//! `/api/v1/feedback`: what callers say of the answers they were given.
//!
//! Invariant: only who asked says anything of an answer, and for everybody else there is none; what was asked and
//! answered is told to administrators of its tenant alone.

mod asked;
pub mod give;
pub mod list;
pub mod remove;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ragstone_core::access::Principal;
use ragstone_core::ask::Answer;
use ragstone_core::seam::feedback::{AnsweredQuestion, CitedPlace};

use super::RouterState;
use super::problem::ApiProblem;
pub(super) use asked::RecentAnswers;

/// What becomes of answers beside being sent.
#[derive(Debug, Clone, Copy)]
pub struct FeedbackSettings {
    /// How long something can be said of an answer that is not kept.
    pub remember_for: std::time::Duration,
    /// Whether every answer is kept, rated or not.
    pub keep_all: bool,
}

impl Default for FeedbackSettings {
    fn default() -> Self {
        Self {
            remember_for: std::time::Duration::from_secs(24 * 60 * 60),
            keep_all: false,
        }
    }
}

/// Remembers a question to which the answer is still to come.
pub(super) fn answer_recorder(
    app: &RouterState,
    principal: &Principal,
    question: &str,
) -> impl Fn(&Answer) + Send + use<> {
    let (api, asked) = (app.api.clone(), app.recent_answers.clone());
    let (principal, question) = (principal.clone(), question.to_owned());
    move |answer| {
        let noted = answered_question(&principal, &question, answer, (api.clock)());
        let noted = Arc::new(noted);
        asked.insert_answer(principal.tenant(), noted.clone());
        if api.settings.feedback.keep_all {
            let (api, tenant) = (api.clone(), principal.tenant().clone());
            // An answer is not lost, nor late, because it could not be kept.
            tokio::spawn(async move {
                if let Err(error) = api.feedback.save_answer(&tenant, &noted).await {
                    tracing::warn!(%error, trace_id = %noted.trace_id, "an answer was not kept");
                }
            });
        }
    }
}

fn answered_question(
    principal: &Principal,
    question: &str,
    answer: &Answer,
    now: time::OffsetDateTime,
) -> AnsweredQuestion {
    let sentences = answer.sentences.iter().map(|sentence| sentence.text.trim());
    let places = answer.citations.iter().map(|citation| CitedPlace {
        uri: citation.uri.clone(),
        page: citation.page,
    });
    let mut cited: Vec<_> = places.collect();
    cited.sort_unstable();
    cited.dedup();
    AnsweredQuestion {
        trace_id: answer.trace_id,
        subject: principal.subject().to_owned(),
        readers: principal.scope().readers().cloned(),
        asked_at: now,
        question: question.to_owned(),
        answer: sentences.collect::<Vec<_>>().join(" "),
        answered: answer.answered,
        cited,
        model: answer.model.clone(),
    }
}

/// Nothing was asked under this id, or by somebody else, or too long ago.
fn unknown_answer() -> ApiProblem {
    ApiProblem::not_found("answer")
}
