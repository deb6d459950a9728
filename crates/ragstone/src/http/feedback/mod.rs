//! `/api/v1/feedback`: ratings and comments of callers on the answers that they got.
//!
//! Invariant: only the asker can give feedback on an answer; for all other callers the answer does not exist. Question
//! and answer are shown to administrators of the tenant only.

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

/// How long answers can be rated, and which are kept.
#[derive(Debug, Clone, Copy)]
pub struct FeedbackSettings {
    /// How long an answer that is not kept can be rated; it is in memory only.
    pub remember_for: std::time::Duration,
    /// Whether to keep every answer in the catalogue, rated or not.
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

/// Returns a callback for the complete answer to `question`: it makes the answer available for feedback, and saves it
/// if `keep_all` is set.
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
            // Saved in the background: a slow or failing store must not delay the answer.
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

/// 404 for an answer that does not exist, is another caller's, or is too old to be rated.
fn unknown_answer() -> ApiProblem {
    ApiProblem::not_found("answer")
}
